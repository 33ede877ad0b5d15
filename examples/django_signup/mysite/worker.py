import django
from django.utils.module_loading import import_string

django.setup()  # before the tasks, which import models
app = import_string("signup.tasks.app")
