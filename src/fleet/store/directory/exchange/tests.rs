//! Exchanges that others disturb, and that end anywhere.

use super::*;

/// A file that is replaced, and where it is.
struct Place {
    folder: tempfile::TempDir,
    writes: u8,
}

impl Place {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("x")
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Another program replaces the file.
    fn write(&mut self) {
        self.writes += 1;
        let outside = self.folder.path().join("outside");
        fs::write(&outside, vec![self.writes; 1 + usize::from(self.writes)]).unwrap();
        fs::rename(outside, self.path()).unwrap();
    }

    fn names(&self) -> usize {
        fs::read_dir(self.folder.path()).unwrap().count()
    }
}

/// An exchange in which others replace the file before some of its steps, and which ends before one. `writes` has a bit for each step.
fn exchange_with(writes: u32, end: u32) -> (Place, Result<Replaced>) {
    let mut place = Place {
        folder: tempfile::tempdir().unwrap(),
        writes: 0,
    };
    let path = place.path();
    fs::write(&path, b"old").unwrap();
    let record = Record::make(&path).unwrap();
    let other = leftover::other(&path);
    fs::write(&other, b"new one").unwrap();
    let at = |path: &Path| Identity::at(path).unwrap().unwrap();
    let first = Exchange {
        put: at(&other),
        take: at(&path),
    };
    let mut steps = 0;
    let result = put_by(&path, record, first, &mut |_| {
        if writes >> steps & 1 == 1 {
            place.write();
        }
        steps += 1;
        match steps > end {
            true => Err(Error::cannot_open()),
            false => Ok(()),
        }
    });
    (place, result)
}

#[test]
fn whatever_others_write_and_wherever_it_ends_the_newest_file_is_there() {
    let (mut ends, mut came_back, mut behind) = (0, 0, 0);
    for writes in 0..1 << 5 {
        for end in 0..=9 {
            for later in [false, true] {
                let (mut place, result) = exchange_with(writes, end);
                let was_cut = result.is_err();
                let newest = |place: &Place| match place.writes {
                    0 => None,
                    number => Some(vec![number; 1 + usize::from(number)]),
                };
                let seen = format!("writes {writes:#b}, end {end}, later {later}: {result:?}");
                if was_cut {
                    ends += 1;
                    if later {
                        place.write();
                    }
                    if settle(&place.path()).is_err() {
                        // Both are there, and somebody has to look.
                        behind += 1;
                        let both = [place.path(), leftover::other(&place.path())];
                        let newest = newest(&place).unwrap();
                        assert!(
                            both.iter().any(|path| fs::read(path).unwrap() == newest),
                            "{seen}"
                        );
                        continue;
                    }
                } else {
                    assert_eq!(matches!(result, Ok(Replaced::Changed)), writes & 1 == 1, "{seen}");
                    came_back += u32::from(writes & 1 == 1);
                }
                match newest(&place) {
                    Some(newest) => assert_eq!(place.read(), newest, "{seen}"),
                    None => assert!([&b"old"[..], b"new one"].contains(&&*place.read()), "{seen}"),
                }
                assert_eq!(place.names(), 1, "{seen}");
            }
        }
    }
    println!("{ends} ends, {came_back} times a newer file came back, {behind} times both are left");
    assert!(
        ends > 300 && came_back > 5 && behind * 2 < ends,
        "{ends} {came_back} {behind}"
    );
}

#[test]
fn what_is_half_written_is_removed_and_what_is_somebodys_own_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, b"old").unwrap();
    drop(Record::make(&path).unwrap());
    fs::write(leftover::other(&path), b"ha").unwrap();
    settle(&path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::write(leftover::other(&path), b"their own").unwrap();
    settle(&path).unwrap();
    assert_eq!(fs::read(leftover::other(&path)).unwrap(), b"their own");
}
