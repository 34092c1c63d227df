"""A platform that speaks AMQP through pika: sends commands, waits for their answers, prints each answer as one JSON line.

usage: pika_client.py URL COMMANDS-QUEUE REPLIES

REPLIES is "direct" for direct reply-to, or the name of a queue to declare and to reply to. Commands come on standard
input, one JSON object a line: {"properties": {…}, "headers": {…}, "body": "…"}.
"""

import json
import sys

import pika

PATIENCE = 90


def main(url, commands_queue, replies):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    if replies == "direct":
        reply_to = "amq.rabbitmq.reply-to"
    else:
        reply_to = channel.queue_declare(replies, exclusive=True).method.queue

    commands = [json.loads(line) for line in sys.stdin]
    answers = []

    def on_answer(channel, method, properties, body):
        answers.append(properties.correlation_id)
        answer = {
            "correlationId": properties.correlation_id,
            "type": properties.type,
            "contentType": properties.content_type,
            "messageId": properties.message_id,
            "headers": {name: str(value) for name, value in (properties.headers or {}).items()},
            "body": json.loads(body),
        }
        print(json.dumps(answer), flush=True)

    # Direct reply-to wants its consumer first, on the channel that publishes.
    channel.basic_consume(reply_to, on_answer, auto_ack=True)
    for command in commands:
        properties = pika.BasicProperties(
            reply_to=reply_to, delivery_mode=2, headers=command["headers"], **command["properties"]
        )
        channel.basic_publish("", commands_queue, command["body"].encode(), properties, mandatory=True)

    connection.call_later(PATIENCE, lambda: sys.exit(f"only {len(answers)} of {len(commands)} answers came"))
    while len(answers) < len(commands):
        connection.process_data_events(time_limit=1)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
