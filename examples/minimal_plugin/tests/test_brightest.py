from xtal.testing import check_threshold


def test_contract_of_thresholds():
    check_threshold("brightest")
