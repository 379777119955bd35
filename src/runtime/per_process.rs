//! What a process makes once, and a forked child makes anew.

use once_cell::race::OnceBox;

use crate::value::entropy;
use crate::value::error::Result;

/// One value for each process that uses it, made on first use and never dropped.
///
/// What came through a `fork` is left alone: its threads are gone and its locks may be held for ever. No lock is taken
/// here, so a fork at any moment leaves nothing half made.
pub(crate) struct PerProcess<T> {
    first: OnceBox<Node<T>>,
}

struct Node<T> {
    generation: u64,
    value: T,
    next: OnceBox<Node<T>>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self {
            first: OnceBox::new(),
        }
    }

    /// This process's value, made by `make` if there is none. Of several threads that make it at once one wins; the
    /// others' values go to `discard`.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn get(
        &'static self,
        make: impl FnOnce() -> Result<T>,
        discard: impl FnOnce(T),
    ) -> Result<&'static T> {
        let generation = entropy::generation();
        let mut place = &self.first;
        while let Some(node) = place.get() {
            if node.generation == generation {
                return Ok(&node.value);
            }
            place = &node.next;
        }
        let mut made = Some(Box::new(Node {
            generation,
            value: make()?,
            next: OnceBox::new(),
        }));
        loop {
            if let Some(node) = made.take() {
                made = place.set(node).err();
            }
            let Some(node) = place.get() else { continue };
            if node.generation == generation {
                if let Some(lost) = made {
                    discard(lost.value);
                }
                return Ok(&node.value);
            }
            place = &node.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn one_of_several_threads_wins_and_the_others_let_go() {
        static VALUE: PerProcess<String> = PerProcess::new();
        static START: Barrier = Barrier::new(8);
        let threads: Vec<_> = (0..8)
            .map(|number: u8| {
                std::thread::spawn(move || {
                    START.wait();
                    let value = VALUE.get(
                        || Ok(number.to_string()),
                        |lost| assert_eq!(lost, number.to_string()),
                    );
                    std::ptr::from_ref(value.unwrap()) as usize
                })
            })
            .collect();
        let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:?}");
    }

    #[test]
    fn a_failure_is_not_kept() {
        static VALUE: PerProcess<u8> = PerProcess::new();
        assert!(
            VALUE
                .get(|| Err(crate::value::error::Error::configuration("x")), drop)
                .is_err()
        );
        assert_eq!(VALUE.get(|| Ok(7), drop).unwrap(), &7);
    }
}
