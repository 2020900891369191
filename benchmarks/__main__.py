"""`python -m benchmarks`: run (the default), list, check, report, compare, doctor, live, archive, cluster, learn, tutorial."""

from __future__ import annotations

import sys

import typer

from benchmarks.commands import inspecting, learning, measuring, plain_console, reporting, streaming, teaching

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Kernels for music spectrograms: checked, timed, drawn.")
app.command("run")(measuring.run_command)
app.command("list")(inspecting.list_command)
app.command("check")(measuring.check_command)
app.command("report")(reporting.report_command)
app.command("compare")(reporting.compare_command)
app.command("doctor")(inspecting.doctor_command)
app.command("live")(streaming.live_command)
app.command("archive")(streaming.archive_command)
app.command("cluster")(streaming.cluster_command)
app.command("learn")(learning.learn_command)
app.command("tutorial")(teaching.tutorial_command)


def main() -> None:
    """Run the command line; `run` may be left out."""
    plain_console.prepare()
    arguments = sys.argv[1:]
    names = {command.name for command in app.registered_commands}
    if not (arguments and (arguments[0] in names or arguments[0] in ("--help", "-h"))):
        arguments = ["run", *arguments]
    app(args=arguments, prog_name="python -m benchmarks")


if __name__ == "__main__":
    main()
