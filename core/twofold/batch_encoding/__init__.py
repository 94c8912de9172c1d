"""Encodes a corpus in shards, by many processes or machines, and loads the shards into an index.

A job is a folder of shards, each with the vectors of some passages. Workers run a pure function
from passages to a shard, so that a job that was stopped goes on where it was.
"""

from twofold.batch_encoding.dask_runner import DaskRunner
from twofold.batch_encoding.job import EncodingJob, JobReport
from twofold.batch_encoding.ray_runner import RayRunner
from twofold.batch_encoding.runners import ProcessRunner, Runner, SerialRunner
from twofold.batch_encoding.shards import Shard, ShardTask, encode_shard

__all__ = [
    "DaskRunner",
    "EncodingJob",
    "JobReport",
    "ProcessRunner",
    "RayRunner",
    "Runner",
    "SerialRunner",
    "Shard",
    "ShardTask",
    "encode_shard",
]
