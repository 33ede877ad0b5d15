import re
from contextlib import closing

from flask import Flask, abort, render_template, request

from penstock import ConfigError, JobNotFound

from . import tasks
from .database import connect
from .tasks import send_welcome_email

app = Flask(__name__)


@app.get("/")
def form() -> str:
    return render_template("form.html")


@app.post("/")
def sign_up() -> str:
    email = request.form["email"]
    if not re.fullmatch(r"\S+@\S+", email):
        abort(400, "That is no mail address.")
    with closing(connect()) as users, users:
        row = users.execute("INSERT INTO users (email) VALUES (?) RETURNING id", (email,))
        (user_id,) = row.fetchone()
    job = send_welcome_email.delay(user_id)
    return render_template("welcome.html", job=job)


@app.get("/jobs/<id>")
def job_state(id: str) -> dict[str, str]:
    try:
        return {"state": tasks.app.job(id).status()}
    except (ConfigError, JobNotFound):
        abort(404)
