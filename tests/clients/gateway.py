"""The calls of the original scripts, with the original client, against a running gateway.

Usage: gateway.py URL [KINESIS_ENDPOINT]
With the endpoint of the Kinesis behind the gateway, what went through the gateway is read back with boto3.
"""
import datetime
import json
import sys
import time

import requests

URL = sys.argv[1].rstrip("/") + "/test"
USER = "0ec6d756577b"
ROWS = {
    "pin": {"index": 7528, "unique_id": "fbe53c66-3442-4773-b19e-d3ec6f54dddf", "title": "No Title Data Available",
            "description": "No description available Story format", "poster_name": "User Info Error",
            "follower_count": "User Info Error", "tag_list": "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e",
            "is_image_or_video": "multi-video(story page format)", "image_src": "Image src error.",
            "downloaded": 0, "save_location": "Local save in /data/mens-fashion", "category": "mens-fashion"},
    "geo": {"ind": 7528, "timestamp": datetime.datetime(2020, 8, 28, 3, 52, 47), "latitude": -89.9787,
            "longitude": -173.293, "country": "Albania"},
    "user": {"ind": 7528, "first_name": "Abigail", "last_name": "Ali", "age": 20,
             "date_joined": datetime.datetime(2015, 10, 24, 11, 23, 51)},
}


def check(response, status=200):
    assert response.status_code == status, (response.request.method, response.url, response.status_code, response.text)
    return response


def batch():
    """b.3: one record a request to the REST proxy, dates as text in three ways, a row in a list."""
    headers = {"Content-Type": "application/vnd.kafka.json.v2+json"}
    for name, row in ROWS.items():
        dated = {key: value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime.datetime) else value
                 for key, value in row.items()}
        for payload in (
            json.dumps({"records": [{"value": dated}]}),
            json.dumps({"records": [{"value": row}]}, default=str),
            json.dumps({"records": [{"value": [dated]}]}),
        ):
            answer = check(requests.request("POST", f"{URL}/topics/{USER}.{name}", headers=headers, data=payload)).json()
            assert answer["offsets"][0]["error_code"] is None, answer
            assert answer["key_schema_id"] is None and answer["value_schema_id"] is None, answer
    topics = check(requests.get(f"{URL}/topics")).json()
    assert all(f"{USER}.{name}" in topics for name in ROWS), topics


def delivered():
    """The check of delivery through the consumer API: poll twice."""
    v2 = {"Content-Type": "application/vnd.kafka.v2+json"}
    made = check(requests.post(f"{URL}/consumers/students", headers=v2, data=json.dumps(
        {"name": f"check-{time.time_ns()}", "format": "json", "auto.offset.reset": "earliest"}))).json()
    base = made["base_uri"]
    assert base.startswith(URL), base
    check(requests.post(f"{base}/subscription", headers=v2, data=json.dumps(
        {"topics": [f"{USER}.{name}" for name in ROWS]})), 204)
    records = []
    for _ in range(20):
        answer = check(requests.get(f"{base}/records", headers={"Accept": "application/vnd.kafka.json.v2+json"}))
        records += answer.json()
        if len(records) >= 9:
            break
    assert len(records) >= 9, len(records)
    assert set(records[0]) == {"topic", "key", "value", "partition", "offset"}, records[0]
    check(requests.delete(base, headers=v2), 204)


def streaming(streams=True):
    """b.4: PutRecord for a stream a table, for a shared stream, and with base64 inside."""
    headers = {"Content-Type": "application/json"}
    places = [(f"streaming-{USER}-{name}", name, "partition-1") for name in ROWS]
    places += [("Kinesis-Prod-Stream", name, f"{USER}_{name}") for name in ROWS]
    for stream in sorted({stream for stream, _, _ in places}):
        made = requests.request("POST", f"{URL}/streams/{stream}", headers=headers, data=json.dumps({"ShardCount": 1}))
        assert made.status_code == 200 or "ResourceInUse" in made.text, made.text
    for stream, _, _ in places:
        while check(requests.get(f"{URL}/streams/{stream}")).json()["StreamDescription"]["StreamStatus"] != "ACTIVE":
            pass
    for stream, name, key in places:
        payload = json.dumps({"StreamName": stream, "Data": ROWS[name], "PartitionKey": key}, default=str)
        answer = check(requests.request("PUT", f"{URL}/streams/{stream}/record", headers=headers, data=payload)).json()
        assert set(answer) >= {"SequenceNumber", "ShardId"}, answer
    entries = [{"data": json.dumps(ROWS[name], default=str), "partition-key": f"{USER}_{name}"} for name in ROWS]
    answer = check(requests.request("PUT", f"{URL}/streams/Kinesis-Prod-Stream/records", headers=headers,
                                    data=json.dumps({"records": entries}))).json()
    assert answer["FailedRecordCount"] == 0, answer
    names = check(requests.get(f"{URL}/streams", params={"ExclusiveStartStreamName": "-", "Limit": 100})).json()
    assert {stream for stream, _, _ in places} <= set(names["StreamNames"]), names


def read_back(endpoint):
    """What went in through REST comes out of Kinesis."""
    import boto3
    kinesis = boto3.client("kinesis", endpoint_url=endpoint, region_name="us-east-1",
                           aws_access_key_id="test", aws_secret_access_key="test")
    iterator = kinesis.get_shard_iterator(StreamName="Kinesis-Prod-Stream", ShardId="shardId-000000000000",
                                          ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records = kinesis.get_records(ShardIterator=iterator)["Records"]
    assert len(records) >= 6, len(records)
    first = json.loads(records[0]["Data"])
    assert first == ROWS["pin"] and records[0]["PartitionKey"] == f"{USER}_pin", records[0]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        batch()
        delivered()
    streaming()
    if len(sys.argv) > 2:
        read_back(sys.argv[2])
    print("all calls of the original scripts were answered as they should be")
