"""The paper's figures, by what the paper says about them and where its tables meet."""

from mmsf.benchmark.paper import COLUMNS, METHODS, TABLES, figure

BASELINES = {"ACIQ", "OMSE", "AdaRound", "BRECQ", "QDrop"}


def test_table_1_is_whole():
    assert len(COLUMNS[1]) == 14
    assert METHODS[1] == BASELINES | {"Ours", "W8A8"}
    # 15 rows of 14 columns, three entries of AdaRound at W4A4 without a figure.
    assert len(TABLES[1]) == 15 * 14 - 3
    assert figure(1, "w4a4", "AdaRound", "GANet Mid") is None


def test_the_tables_agree_where_they_meet():
    assert figure(2, "w4a4", "Ours", "GANet Small").f1 == figure(1, "w4a4", "Ours", "GANet Small").f1
    for method, column in (("QDrop", "CondLaneNet Small"), ("Ours", "CondLaneNet Small"), ("Ours", "RESA Small")):
        assert figure(3, "w8a4", method, column).f1 == figure(1, "w8a4", method, column).f1
    assert figure(3, "w8a4", "QDrop", "RESA Small").f1 == figure(1, "w4a4", "QDrop", "RESA Small").f1


def test_where_the_paper_does_not_win_at_4_bits():
    best = {
        column: max((found.f1, method) for method in METHODS[1] if (found := figure(1, "w4a4", method, column)))[1]
        for column in COLUMNS[1]
    }
    lost = {column for column, method in best.items() if method != "Ours"}
    assert lost == {"CondLaneNet Mid", "GANet Small", "GANet Mid", "BézierLaneNet Mid"}


def test_a_figure_is_found_by_exactly_its_place():
    assert figure(1, "w8a4", "Ours", "LSTR Small").f1 == 63.14
    assert figure(1, "Full Precision", "Model Baseline", "LSTR Small").f1 == 68.78
    assert figure(3, "w8a4", "LSQ+", "RESA Small").minutes == 5326
    for place in ((None, "w8a4", "Ours", "LSTR Small"), (1, "w8a4", None, "LSTR Small"), (1, "w8a4", "Ours", None)):
        assert figure(*place) is None
