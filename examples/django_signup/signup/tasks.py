from collections.abc import Iterator
from typing import Annotated

from django.core.mail import send_mail
from django.db import close_old_connections
from django.utils import timezone

from penstock import INJECTED, Penstock, Retry

from .models import Person

app = Penstock("mysite")  # the broker: PENSTOCK_BROKER_URL, else a file


@app.resource(scope="job")
def orm() -> Iterator[None]:
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@app.task(retry=Retry(attempts=5, base=1))
def send_welcome_email(person_id: int, _orm: Annotated[None, orm] = INJECTED) -> None:
    person = Person.objects.get(pk=person_id)
    send_mail("Welcome!", "Good to have you with us.", None, [person.email])
    Person.objects.filter(pk=person_id).update(welcomed_at=timezone.now())
