"""The catalogue as workloads: counts, shapes, presets, globs, and the smaller layers that pilots time."""

from __future__ import annotations

import json

import pytest

from benchmarks import workloads
from benchmarks.inputs import expected
from benchmarks.workloads.catalogue import CATALOGUE, LONG_FILTERS, catalogue
from benchmarks.workloads.layer import from_row

ROWS = json.loads(CATALOGUE.read_text(encoding="utf-8"))


def test_catalogue_is_whole() -> None:
    assert len(catalogue()) == 491
    assert len({each.id for each in catalogue()}) == 491
    assert len(workloads.preset("core")) == 26
    assert all(each.source for each in catalogue()), "every row says where it was read"


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_counts_agree_with_what_was_published(row: dict) -> None:
    workload = from_row(row)
    assert workload.flops == row["flops"]
    if not row["op"].startswith("global"):
        assert (workload.oh, workload.ow) == (row["oh"], row["ow"])


def test_every_workload_is_either_checked_or_refused_with_a_sentence() -> None:
    for workload in catalogue():
        sentence = expected.refuse(workload)
        if workload.op == "global_max_concat_mean_time":
            assert sentence and workload.op in sentence
        else:
            assert sentence is None, workload.id


@pytest.mark.parametrize("flops", [200_000, 50_000_000])
def test_a_cut_workload_is_the_same_kind_and_small(flops: int) -> None:
    for workload in catalogue():
        if expected.refuse(workload):
            continue
        small = workload.cut(flops)
        assert small.flops <= workload.flops
        assert min(small.oh, small.ow, small.c_in, small.c_out, small.n) >= 1
        assert (small.kh, small.kw, small.stride, small.dilation, small.padding) == (
            workload.kh, workload.kw, workload.stride, workload.dilation, workload.padding,
        )  # fmt: skip
        assert small.c_in % small.groups == 0 and small.c_out % small.groups == 0
        # One output value of one channel is the least there is, except that padding keeps a map from shrinking.
        assert small.flops <= flops or (small.c_in == small.groups == 1), workload.id


def test_batch_multiplies_work() -> None:
    workload = workloads.by_id("vggish.conv1")
    four = workload.batched(4)
    assert four.flops == 4 * workload.flops
    assert four.x_shape == (4, 1, 96, 64)
    assert four.batch == 4


def test_globs_choose_from_the_whole_catalogue() -> None:
    names = [each.id for each in workloads.select("quick", ["musicnn.timbral?7", "yamnet.pw8", "samplecnn.conv[12]"])]
    assert names == ["musicnn.timbral67", "samplecnn.conv1", "samplecnn.conv2", "yamnet.pw8"]


def test_an_unknown_glob_names_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no workload fits 'resnet\*'; there are vggish\.conv1.*python -m benchmarks list"):
        workloads.select("quick", ["resnet*"])


def test_quick_is_a_spread_of_the_core() -> None:
    chosen = workloads.preset("quick")
    assert all(each.core for each in chosen)
    assert {each.op for each in chosen} >= {"conv2d", "conv1d", "max_pool2d"}
    assert any(each.groups > 1 and each.dilation[1] > 1 for each in chosen)
    assert any(each.kh == each.kw == 1 for each in chosen) and any(each.input for each in chosen)


def test_signals_are_rows_like_the_catalogues_and_in_the_full_preset() -> None:
    rows = json.loads(LONG_FILTERS.read_text(encoding="utf-8"))
    assert {row["id"] for row in rows} >= {"signals.reverb", "signals.reverb32"}
    for row in rows:
        workload = workloads.by_id(row["id"])
        assert (workload.flops, workload.oh, workload.ow) == (row["flops"], row["oh"], row["ow"])
        assert workload in workloads.preset("full") and not workload.core and workload.source
        assert expected.refuse(workload) is None
    assert [each.id for each in workloads.select("quick", ["signals.reverb*"])] == ["signals.reverb", "signals.reverb32"]


@pytest.mark.parametrize("name", ["signals.reverb", "signals.reverb32", "deepsalience.distribute.w2000"])
def test_a_shorter_workload_keeps_its_channels(name: str) -> None:
    workload = workloads.by_id(name)
    small = workload.shorter(1_000_000_000)
    assert small.flops <= 1_000_000_000 and min(small.oh, small.ow) >= 1
    assert (small.c_in, small.c_out, small.groups, small.stride, small.dilation) == (
        workload.c_in, workload.c_out, workload.groups, workload.stride, workload.dilation,
    )  # fmt: skip
