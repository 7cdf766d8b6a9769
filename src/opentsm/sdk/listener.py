"""What an app is told while a process runs."""

from opentsm.sdk.messages import ProcessProgress, ProcessResult, ProcessStart


class ProcessListener:
    """TR-03165's ProcessListener: override what is of interest.

    An error that `on_process_start` raises aborts the process: the guideline has a process whose start
    cannot be told aborted. Errors of the other two are the app's own and reach the caller.
    Source: BSI TR-03165 §3.2.1, §4.2.3.6.
    """

    def on_process_start(self, process_start_info: ProcessStart) -> None:
        """Be told that the process has begun; once."""

    def on_process_progress(self, process_progress_info: ProcessProgress) -> None:
        """Be told how far the process is; never less than before."""

    def on_process_result(self, result: ProcessResult) -> None:
        """Be told how the process ended; the call returns the same."""
