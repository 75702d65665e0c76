import json

import litellm
from litellm.integrations.custom_logger import CustomLogger


class Lines(CustomLogger):
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        if payload := kwargs.get("standard_logging_object"):
            with open("litellm.jsonl", "a") as lines:
                lines.write(json.dumps(payload, default=str) + "\n")

    log_failure_event = log_success_event

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async_log_failure_event = async_log_success_event


litellm.callbacks = [Lines()]
