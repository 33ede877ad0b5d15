"""A sign-up that answers at once and sends its mail in the background.

From the folder above this one, with a mail server at SMTP_URL (default smtp://localhost:1025):

    penstock -A welcome.tasks worker
    flask --app welcome.web run
"""
