"""Sends records with a client that is not ours: `produce.py BROKERS TOPIC CODEC FROM TO`."""

import sys

from confluent_kafka import Producer

brokers, topic, codec, first, end = sys.argv[1:]
failed = []
producer = Producer({"bootstrap.servers": brokers, "compression.type": codec, "linger.ms": 20})
for n in range(int(first), int(end)):
    value = '{"index": %d, "title": "na\u00efve \u2026\u00a0", "category": "art"}' % n
    producer.produce(
        topic,
        key=str(n),
        value=value.encode(),
        on_delivery=lambda error, _: failed.append(error) if error else None,
    )
    producer.poll(0)
left = producer.flush(60)
if failed or left:
    sys.exit(f"{left} records were not sent, {len(failed)} failed: {failed[:1]}")
