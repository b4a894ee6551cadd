//! Who waits for a refresh, and how it ended. Pure: the owner holds the lock and runs the wakers.

use std::task::Waker;

use crate::error::Error;

/// How a refresh ended, as its waiters learn it. Where there is a token, they find it in the cell.
#[derive(Clone, Debug)]
pub(crate) enum Completion {
    /// With a token, which is published.
    Refreshed,
    /// Without one; all who waited share the error (A02).
    Failed(Error),
    /// Without a result: its runtime went away, or the secret changed meanwhile (A13, A14, G9).
    Abandoned,
}

/// The wakers of those who wait, until the refresh completes.
#[derive(Debug, Default)]
pub(super) struct WaitList {
    completion: Option<Completion>,
    /// Each waiter owns one place until it leaves.
    places: Vec<Option<Waker>>,
    vacant: Vec<usize>,
}

impl WaitList {
    /// Returns the completion if there is one, else keeps the waker in the waiter's place.
    ///
    /// What is left in `waker` afterwards is for the caller to drop once it holds no lock: a waker's drop
    /// is foreign code.
    pub(super) fn poll(
        &mut self,
        place: &mut Option<usize>,
        waker: &mut Option<Waker>,
    ) -> Option<Completion> {
        if let Some(completion) = &self.completion {
            return Some(completion.clone());
        }
        match *place {
            Some(place) => std::mem::swap(&mut self.places[place], waker),
            None => *place = Some(self.enter(waker.take())),
        }
        None
    }

    fn enter(&mut self, waker: Option<Waker>) -> usize {
        if let Some(place) = self.vacant.pop() {
            self.places[place] = waker;
            return place;
        }
        self.places.push(waker);
        self.places.len() - 1
    }

    /// Gives a place back. The caller drops the waker once it holds no lock.
    pub(super) fn leave(&mut self, place: usize) -> Option<Waker> {
        // After the completion there are no places any more.
        let waker = self.places.get_mut(place)?.take();
        self.vacant.push(place);
        waker
    }

    /// Notes how the refresh ended; only the first completion counts. The caller wakes the returned
    /// wakers once it holds no lock.
    pub(super) fn complete(
        &mut self,
        completion: Completion,
    ) -> impl Iterator<Item = Waker> + use<> {
        self.completion.get_or_insert(completion);
        std::mem::take(&mut self.places).into_iter().flatten()
    }

    pub(super) fn has_completed(&self) -> bool {
        self.completion.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(list: &mut WaitList, place: &mut Option<usize>, by: &Arc<Counting>) -> bool {
        let mut waker = Some(Waker::from(by.clone()));
        list.poll(place, &mut waker).is_some()
    }

    #[test]
    fn a08_each_who_waits_is_woken_once_and_who_left_is_not() {
        let counters: [Arc<Counting>; 3] = Default::default();
        let mut places = [None; 3];
        let mut list = WaitList::default();
        for (counter, place) in counters.iter().zip(&mut places) {
            assert!(!poll(&mut list, place, counter));
            assert!(
                !poll(&mut list, place, counter),
                "a second poll keeps its place"
            );
        }
        drop(list.leave(places[1].unwrap()));
        let mut late = None;
        assert!(!poll(&mut list, &mut late, &counters[1]));
        assert_eq!(late, places[1], "a place that was left is taken again");
        drop(list.leave(places[2].unwrap()));
        list.complete(Completion::Abandoned).for_each(Waker::wake);
        list.complete(Completion::Refreshed).for_each(Waker::wake);
        let woken = counters.map(|counter| counter.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 1, 0]);
        let mut waker = Some(Waker::noop().clone());
        let completion = list.poll(&mut places[0], &mut waker);
        assert!(
            matches!(completion, Some(Completion::Abandoned)),
            "the first completion counts"
        );
        assert!(list.leave(places[0].unwrap()).is_none());
    }
}
