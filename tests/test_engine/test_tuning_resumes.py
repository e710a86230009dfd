from test_engine.tuned import assert_resumes_exactly

HOOKS = [
    dict(type="mmsf.BestMomentHook", frames=4, interval=2),
]


def test_a_stopped_run_with_all_further_hooks_resumes_exactly(roads, tmp_path):
    whole, resumed = assert_resumes_exactly(roads, tmp_path, HOOKS, after=3)
    best = [next(hook for hook in runner.hooks if type(hook).__name__ == "BestMomentHook") for runner in (whole, resumed)]
    assert (best[0].scores, best[0].kept) == (best[1].scores, best[1].kept)
