"""Functions that hear what happens in a worker."""

from penstock import FailedJob, JobFailed, Penstock

app = Penstock("typed", broker="memory://typed")


@app.on("worker_start")
def begun() -> None: ...


@app.on("worker_stop")
async def over() -> None: ...


@app.on("job_failed")
def dead(job: FailedJob, error: Exception) -> None:
    print(job.id.upper(), job.attempt + 1, error.args)
    job.attempt = 3  # E: misc reportAttributeAccessIssue


@app.on("attempt_failed")
async def failed(job: FailedJob, error: Exception) -> None:
    print(job.retry_in, error, JobFailed)


def wrong() -> None:
    app.on("job_faild")  # E: call-overload reportCallIssue,reportArgumentType

    @app.on("worker_start")  # E: type-var reportArgumentType,reportUntypedFunctionDecorator
    def too_many(job: FailedJob) -> None: ...

    @app.on("job_failed")  # E: type-var reportArgumentType,reportUntypedFunctionDecorator
    def too_few(job: FailedJob) -> None: ...

    dead("1")  # E: call-arg,arg-type reportCallIssue
    print(too_many, too_few)
