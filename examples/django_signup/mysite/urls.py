from django.urls import path
from signup.views import sign_up

urlpatterns = [path("", sign_up)]
