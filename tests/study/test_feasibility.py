"""How many frames a view will have is known before anything is simulated, and is what the commands then make."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from ptychopinn.errors import PtychoError
from ptychopinn.physics.probe import curved_disc
from ptychopinn.study.design import PRESETS, StudyDesign
from ptychopinn.study.feasibility import counts_line, impossible_jobs, places_of
from ptychopinn.study.jobs import jobs_of


@pytest.mark.parametrize("preset", PRESETS)
def test_every_view_of_a_preset_has_enough_frames(preset):
    design = StudyDesign.of(PRESETS[preset])
    places = places_of(design)
    assert len(places) == 6
    # A group chooses from K neighbours of its seed.
    assert min(map(len, places.values())) > 2 * design.neighbor_count
    assert not impossible_jobs(design, jobs_of(design), places)
    line = counts_line(places)
    assert f"sparse {len(places['sparse', 'train'])} train, {len(places['sparse', 'test'])} test" in line


def test_views_keep_their_spacing_and_splits_their_gap():
    design = StudyDesign()
    places = places_of(design)
    for split in ("train", "test"):
        assert pdist(places["dense", split]).min() >= 38.4
        assert pdist(places["sparse", split]).min() >= 102.4
        # Every frame that was left out is too close to one that was kept.
        assert cdist(places["baseline", split], places["sparse", split]).min(axis=1).max() < 102.4
    gap = places["baseline", "test"][:, 0].min() - places["baseline", "train"][:, 0].max()
    assert gap >= 2 * design.radius


def test_a_gap_narrower_than_the_probe_is_refused():
    with pytest.raises(PtychoError, match=r"split_gap: 20 px given; .* a probe width"):
        places_of(StudyDesign.of({"split_gap": 20}))
    places_of(StudyDesign.of({"split_gap": 80}))


def test_a_gap_wider_than_the_object_is_refused():
    with pytest.raises(PtychoError, match="split: "):
        places_of(StudyDesign.of({"split_gap": 700}))


def test_a_split_along_x():
    places = places_of(StudyDesign.of({"split_axis": "x"}))
    assert places["baseline", "train"][:, 1].max() < places["baseline", "test"][:, 1].min()


def test_a_small_object_makes_jobs_impossible_and_those_that_need_them():
    design = StudyDesign.of({"object_size": 420})
    jobs = jobs_of(design)
    places = places_of(design)
    assert len(places["sparse", "train"]) < 8
    reasons = impossible_jobs(design, jobs, places)
    assert "groups" not in reasons
    assert "frames in the train part of view sparse" in reasons["train-1e3-sparse-gs2"]
    assert "needs train-1e3-sparse-gs2, which is impossible" in reasons["compare-1e3-sparse-test"]
    assert "train-1e3-dense-gs2" not in reasons
    assert "compare-1e3-dense-test" not in reasons


def test_subsampling_leaves_fewer_frames():
    design = StudyDesign.of({"n_subsample": 60})
    places = places_of(design)
    assert len(places["baseline", "train"]) > 60
    assert len(places["dense", "train"]) < len(places_of(StudyDesign())["dense", "train"])


@pytest.fixture
def base(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "base.npz", **arrays)
        return str(tmp_path / "base.npz")

    return write


PROBE = curved_disc(64, 19.0, 5.0)[0].numpy()
OBJECT = np.ones((480, 500), np.complex64)


def test_an_object_and_a_probe_of_the_user(base):
    path = base(objectGuess=OBJECT, probeGuess=PROBE)
    places = places_of(StudyDesign.of({"base": path, "N": 64, "step": 12}))
    assert places["baseline", "test"][:, 0].max() <= 480 - 32
    assert 300 < len(places["baseline", "train"]) < 700


def test_positions_of_the_user(base):
    y, x = (np.repeat(np.linspace(40, 440, 40), 40), np.tile(np.linspace(40, 440, 40), 40))
    path = base(objectGuess=OBJECT, probeGuess=PROBE, xcoords=x, ycoords=y)
    places = places_of(StudyDesign.of({"base": path, "N": 64}))
    assert set(places["baseline", "train"][:, 1]) == set(x)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"objectGuess": OBJECT}, "holds no probeGuess"),
        ({"probeGuess": PROBE}, "holds no objectGuess"),
        ({"objectGuess": OBJECT, "probeGuess": PROBE}, "set N=64"),
    ],
)
def test_a_base_that_lacks_something(base, arrays, words):
    with pytest.raises(PtychoError, match=words):
        places_of(StudyDesign.of({"base": base(**arrays)}))
