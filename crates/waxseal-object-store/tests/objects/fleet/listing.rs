//! Names of objects, their order, and how a range is divided.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{Range, Store as _};
use waxseal_object_store::Objects;

use super::unruly::{Fault, Unruly};
use super::{Bench, on_tokio};

/// Names that some layer on the way has to encode.
pub(super) const NAMES: [&str; 12] = [
    "a b",
    "a%20b",
    "a%2Fb",
    "a+b",
    "a&b=c",
    "q?x=1#y",
    "é/ü/日本",
    "e\u{301}",
    "(1)'!*",
    "~x",
    "a/b/c.d",
    "x\u{1f980}y",
];

/// The ids of a range, page by page.
pub(super) fn ids(objects: &Objects, range: &Range, limit: usize) -> Vec<String> {
    let (mut rest, mut ids) = (range.clone(), Vec::new());
    loop {
        let page = block_on(objects.scan(&rest, limit)).unwrap();
        assert!(page.found.len() <= limit);
        ids.extend(page.found.into_iter().map(|found| found.id));
        match ids.last().filter(|_| !page.is_last) {
            Some(last) => rest = rest.from_after(last),
            None => return ids,
        }
    }
}

pub(super) fn names_come_back(bench: &Bench) {
    for name in NAMES {
        bench.put(name, bench.seal(name, name.as_bytes(), 0));
    }
    let mut sorted = NAMES.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(ids(&bench.objects(), &Range::all(), 3), sorted);
    let report = bench.run();
    assert_eq!(
        (report.counts.moved(), report.counts.faults()),
        (12, 0),
        "{report:?}"
    );
    let filled = NAMES.map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    bench.check_moved(&filled.into());
}

#[test]
fn names_come_back_to_the_same_objects() {
    names_come_back(&Bench::in_memory());
}

#[test]
fn a_name_that_cannot_be_asked_for_is_refused() {
    let objects = Bench::in_memory().objects();
    for id in ["", "/a", "a/", "a//b", "../a", "a/./b", "a\nb"] {
        let error = block_on(objects.front(id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{id}");
    }
    assert!(block_on(objects.front("not there")).unwrap().is_none());
}

#[test]
fn each_range_has_what_is_in_it_page_by_page() {
    let bench = Bench::in_memory();
    for id in ["a", "b", "b/1", "b/2", "b0", "c"] {
        bench.put(id, "x");
    }
    // A sibling of the prefix, which is not below it.
    let beside = Path::from(format!("{}s/x", bench.prefix));
    on_tokio(bench.service.put(&beside, "x".into())).unwrap();
    let objects = bench.objects();
    let all = Range::all();
    for (range, expected) in [
        (all.clone(), "a b b/1 b/2 b0 c"),
        (all.clone().from_after("b"), "b/1 b/2 b0 c"),
        (all.clone().from_after("b/"), "b/1 b/2 b0 c"),
        (all.clone().from_after("b/1").up_to("b0"), "b/2 b0"),
        (all.clone().up_to("b/11"), "a b b/1"),
        (all.clone().from_after("c"), ""),
        (all.clone().from_after("b").up_to("a"), ""),
    ] {
        for limit in [1, 2, 6, 100] {
            let found = ids(&objects, &range, limit).join(" ");
            assert_eq!(found, expected, "{range:?} {limit}");
        }
    }
}

#[test]
fn an_object_that_goes_while_it_is_listed_is_left_out() {
    let bench = Bench::in_memory();
    for number in 0..10 {
        bench.put(&format!("{number}"), "x");
    }
    let objects = bench.objects();
    let first = block_on(objects.scan(&Range::all(), 4)).unwrap();
    assert!(!first.is_last);
    for gone in ["4", "5", "6", "7", "9"] {
        on_tokio(bench.service.delete(&bench.path(gone))).unwrap();
    }
    let rest = Range::all().from_after("3");
    assert_eq!(ids(&objects, &rest, 4), ["8"]);
}

#[test]
fn what_stands_for_a_folder_is_left_out_and_what_is_in_it_is_a_fault() {
    let bench = Bench::in_memory();
    for id in ["a", "a-b", "a/1", "b/1", "c/1"] {
        bench.put(id, bench.seal(id, b"x", 0));
    }
    let mut unruly = Unruly::new(&bench.service, |_, _, _| Fault::None);
    let prefix = bench.prefix.clone();
    let folder = move |id: &str, size| ObjectMeta {
        location: Path::from(format!("{prefix}{id}")),
        last_modified: Default::default(),
        size,
        e_tag: None,
        version: None,
    };
    // As a service lists `/`, `a/`, `b/` and `c/`, of which `c/` has bytes, and another `a/`, too.
    unruly.names = Some(Box::new(move |mut listed| {
        let is_all = listed.len() == 5;
        if is_all {
            listed.insert(4, folder("/c", 9));
            listed.insert(3, folder("/b", 0));
            listed.insert(2, folder("/a", 9));
            listed.insert(2, folder("/a", 0));
            listed.insert(0, folder("", 0));
        } else if listed.len() == 1 {
            // Behind `b/1`.
            listed.insert(0, folder("/c", 9));
        }
        listed
    }));
    let bench = Bench {
        service: Arc::new(unruly),
        ..bench
    };
    let page = block_on(bench.objects().scan(&Range::all(), 100)).unwrap();
    let found: Vec<_> = page
        .found
        .iter()
        .map(|found| (found.id.as_str(), found.item.is_ok()))
        .collect();
    assert_eq!(
        found,
        [
            ("a", true),
            ("a-b", true),
            ("a/", false),
            ("a/1", true),
            // Nobody can tell that it is not an object without a slash.
            ("b", true),
            ("b/1", true),
            ("c/", false),
            ("c/1", true),
        ]
    );
    let error = page.found[2].item.as_ref().unwrap_err();
    assert!(error.to_string().contains("another name"), "{error}");
}

#[test]
fn a_listing_in_another_order_ends_the_job() {
    let bench = Bench::in_memory();
    for id in ["a", "b", "c"] {
        bench.put(id, "x");
    }
    let mut unruly = Unruly::new(&bench.service, |_, _, _| Fault::None);
    unruly.names = Some(Box::new(|mut listed| {
        listed.reverse();
        listed
    }));
    let bench = Bench {
        service: Arc::new(unruly),
        ..bench
    };
    let error = block_on(bench.job(bench.objects()).run()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("order"), "{error}");
}

/// Ranges without gaps or overlaps, none of them with far more than its part.
fn divides(names: impl Iterator<Item = String>, parts: usize, at_least: usize) {
    let bench = Bench::in_memory();
    let mut names: Vec<String> = names.collect();
    names.sort();
    on_tokio(async {
        for name in &names {
            bench.service.put(&bench.path(name), "".into()).await.unwrap();
        }
    });
    let objects = bench.objects();
    for range in [
        Range::all(),
        Range::all().from_after(&names[1]).up_to(&names[names.len() - 3]),
    ] {
        let ranges = block_on(objects.split(&range, parts)).unwrap();
        assert!((at_least..=parts).contains(&ranges.len()), "{ranges:?}");
        assert_eq!(ranges[0].after(), range.after());
        assert_eq!(ranges[ranges.len() - 1].until(), range.until());
        for two in ranges.windows(2) {
            assert_eq!(two[0].until(), two[1].after());
            assert!(two[0].after() < two[0].until());
        }
        let whole = ids(&objects, &range, 5000);
        let each: Vec<Vec<String>> = ranges.iter().map(|range| ids(&objects, range, 5000)).collect();
        assert_eq!(each.concat(), whole);
        let most = each.iter().map(Vec::len).max().unwrap();
        assert!(most * at_least <= whole.len() * 4, "{most} of {}", whole.len());
    }
}

#[test]
fn ranges_are_divided_without_gaps_however_the_objects_are_named() {
    // Few: by their number.
    divides((0..100).map(|number| format!("{number}")), 8, 8);
    // Many: by how they begin.
    divides(
        (0..5000_u32).map(|number| format!("tenant/{:08x}", number * 858_993)),
        16,
        16,
    );
    divides(
        (0..3000).map(|number| format!("2026/11/{:02}/x-{number}", number % 28)),
        16,
        10,
    );
    divides(
        (0..3000).map(|number| format!("{}.{number}", ["-", ".x", "~", "é"][number % 4])),
        16,
        4,
    );
}

#[test]
fn what_cannot_be_divided_stays_whole() {
    let objects = Bench::in_memory().objects();
    for parts in [0, 1, 16] {
        let ranges = block_on(objects.split(&Range::all(), parts)).unwrap();
        assert_eq!(ranges, [Range::all()]);
    }
}
