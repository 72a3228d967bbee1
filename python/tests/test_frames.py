"""Frames: whole or not at all, from any thread, and nothing hostile gets through."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading

import pytest

from wflo.runner.frames import MAX_FRAME, Channel, ChannelClosed, FrameTooLarge, ProtocolError


def packed(frame):
    body = json.dumps(frame).encode()
    return struct.pack(">I", len(body)) + body


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach())
    yield ours, channel
    ours.close()
    try:
        os.close(channel.fd)
    except OSError:
        pass


def test_the_descriptor_is_out_of_the_way_and_not_inherited(pair):
    _, channel = pair
    assert channel.fd >= 200
    assert not os.get_inheritable(channel.fd)


def test_frames_arrive_whole_however_they_are_cut(pair):
    ours, channel = pair
    data = packed({"type": "a", "n": 1}) + packed({"type": "b", "text": "\u00e9" * 1000})
    got = []
    for start in range(0, len(data), 7):
        ours.sendall(data[start : start + 7])
        got += channel.receive()
    assert [frame["type"] for frame in got] == ["a", "b"]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", MAX_FRAME + 1),
        b"\xff\xff\xff\xff",
        struct.pack(">I", 3) + b"{{{",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 0),
        struct.pack(">I", 2) + b"{}",
        struct.pack(">I", 11) + b'{"type": 1}',
        struct.pack(">I", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack(">I", 200_000) + b"[" * 200_000,
    ],
)
def test_what_is_not_a_frame_is_refused(pair, data):
    ours, channel = pair
    sender = threading.Thread(target=ours.sendall, args=(data,))
    sender.start()
    with pytest.raises(ProtocolError):
        while not channel.receive():
            channel.wait(5000)
    sender.join()


def test_the_end_of_the_stream_is_told_after_the_last_frame(pair):
    ours, channel = pair
    ours.sendall(packed({"type": "last"}) + b"\x00\x00")
    ours.close()
    assert [frame["type"] for frame in channel.receive()] == ["last"]
    with pytest.raises(ChannelClosed):
        channel.receive()


def test_a_frame_over_the_limit_is_not_sent(pair):
    ours, channel = pair
    with pytest.raises(FrameTooLarge):
        channel.send({"type": "log", "message": "x" * MAX_FRAME})
    channel.send({"type": "small"})
    assert ours.recv(100) == packed({"type": "small"}).replace(b": ", b":").replace(
        struct.pack(">I", len('{"type": "small"}')), struct.pack(">I", len('{"type":"small"}'))
    )


def test_frames_from_many_threads_are_not_mixed(pair):
    ours, channel = pair

    def send(n):
        for index in range(50):
            channel.send({"type": "x", "n": n, "index": index, "pad": "y" * 5000})

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    data = b""
    seen = {n: [] for n in range(8)}
    while sum(map(len, seen.values())) < 400:
        data += ours.recv(1 << 20)
        while len(data) >= 4 and len(data) >= 4 + struct.unpack(">I", data[:4])[0]:
            size = struct.unpack(">I", data[:4])[0]
            frame = json.loads(data[4 : 4 + size])
            data = data[4 + size :]
            seen[frame["n"]].append(frame["index"])
    for thread in threads:
        thread.join()
    assert all(indexes == list(range(50)) for indexes in seen.values())


def test_a_file_opened_under_the_closed_descriptor_is_left_alone(pair, tmp_path):
    _, channel = pair
    os.close(channel.fd)
    file = os.open(tmp_path / "mine", os.O_CREAT | os.O_RDWR)
    os.dup2(file, channel.fd)
    with pytest.raises(ChannelClosed):
        channel.send({"type": "x"})
    assert (tmp_path / "mine").read_bytes() == b""
    os.close(file)
