from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Annotated

from fastapi import FastAPI, Form
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from tasks import app, connect, send_welcome_email

FORM = '<form method="post"><input type="email" name="email" required> <button>Sign up</button></form>'


@asynccontextmanager
async def lifespan(_web: FastAPI) -> AsyncIterator[None]:
    async with app:  # closes its connections to the broker as the server ends
        yield


web = FastAPI(lifespan=lifespan)


def add_user(email: str) -> int:
    with closing(connect()) as database, database:
        (user_id,) = database.execute(
            "INSERT INTO users (email) VALUES (?) RETURNING id", (email,)
        ).fetchone()
    return int(user_id)


@web.get("/", response_class=HTMLResponse)
async def form() -> str:
    return FORM


@web.post("/", response_class=HTMLResponse)
async def sign_up(email: Annotated[str, Form(pattern=r"^\S+@\S+$")]) -> str:
    user_id = await run_in_threadpool(add_user, email)
    job = await send_welcome_email.adelay(user_id)
    return f"<h1>Welcome!</h1><p>A mail is on its way: job {job.id}.</p>"
