from django.db import transaction
from django.forms import modelform_factory
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from .models import Person
from .tasks import send_welcome_email

SignUp = modelform_factory(Person, fields=["email"])


def sign_up(request: HttpRequest) -> HttpResponse:
    form = SignUp(request.POST or None)
    if not form.is_valid():
        return render(request, "signup/form.html", {"form": form})
    with transaction.atomic():
        person = form.save()
        transaction.on_commit(lambda: send_welcome_email.delay(person.pk))
    return render(request, "signup/welcome.html")
