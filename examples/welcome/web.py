from contextlib import closing

from flask import Flask, render_template, request

from . import tasks
from .database import connect
from .tasks import send_welcome_email

app = Flask(__name__)


@app.get("/")
def form() -> str:
    return render_template("form.html")


@app.post("/")
def sign_up() -> str:
    with closing(connect()) as users, users:
        row = users.execute("INSERT INTO users (email) VALUES (?) RETURNING id", (request.form["email"],))
        (user_id,) = row.fetchone()
    job = send_welcome_email.delay(user_id)
    return render_template("welcome.html", job=job)


@app.get("/jobs/<id>")
def job_state(id: str) -> dict[str, str]:
    return {"state": tasks.app.job(id).status()}
