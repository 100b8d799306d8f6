use super::*;
use coldpress_core::pool::Step;

const WORK: Step = Step {
    relocated_bytes: 40,
    relocated_objects: 2,
    pages_released: 1,
    expired_objects: 0,
    evicted_objects: 0,
    failed: false,
    done: false,
};
const LAST: Step = Step { done: true, ..WORK };

fn serve<const N: usize>(worker: &mut CleanupWorker, mailbox: &Mailbox<N>, step: Step) -> Progress {
    worker.poll(mailbox, 256, |_| step).unwrap()
}

#[test]
fn two_steps_served_add_up_in_one_reply() {
    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    let ticket = mailbox.trigger_defragmentation(0).unwrap();
    assert_eq!(mailbox.poll(ticket, 1), Ok(None));
    assert_eq!(serve(&mut worker, &mailbox, WORK), Progress::Stepped(ticket));
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Replied(ticket));
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Idle);
    // I-POOL-2, I-REQ-1
    let reclaimed =
        Reclaimed { bytes: 512, pages: 2, relocated_bytes: 80, relocated_objects: 4, ..Reclaimed::default() };
    assert_eq!(mailbox.poll(ticket, 2), Ok(Some(Ok(reclaimed))));
    assert_eq!(mailbox.poll(ticket, 3), Err(TicketError::Stale));
}

#[test]
fn full_request_is_refused_and_owes_nothing() {
    let mailbox = Mailbox::<2>::new();
    let first = mailbox.emergency_cleanup(0).unwrap();
    mailbox.trigger_defragmentation(0).unwrap();
    assert_eq!(mailbox.emergency_cleanup(0), Err(RequestError::Full));
    assert_eq!(mailbox.waiting(), Ok(2));
    assert_eq!(mailbox.cancel(first), Ok(()));
    assert!(mailbox.emergency_cleanup(0).is_ok());
}

#[test]
fn held_calls_are_refused_and_counted() {
    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    let ticket = mailbox.emergency_cleanup(0).unwrap();
    let interrupt = || {
        assert_eq!(mailbox.emergency_cleanup(0), Err(RequestError::Contended));
        assert_eq!(mailbox.poll(ticket, 0), Err(TicketError::Contended));
        assert_eq!(mailbox.cancel(ticket), Err(TicketError::Contended));
        assert_eq!(worker.poll(&mailbox, 256, |_| LAST), Err(Contended));
    };
    assert_eq!(mailbox.held(interrupt), Ok(()));
    assert_eq!(mailbox.contended(), 4);
    assert!(!worker.is_busy());
    assert_eq!(mailbox.waiting(), Ok(1));
}

#[test]
fn asked_during_a_step_interrupt_gets_its_ticket() {
    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    mailbox.trigger_defragmentation(0).unwrap();
    let mut asked = None;
    let progress = worker.poll(&mailbox, 256, |_| {
        asked = mailbox.emergency_cleanup(1).ok();
        LAST
    });
    assert!(matches!(progress, Ok(Progress::Replied(_))));
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Replied(asked.unwrap()));
    assert_eq!(mailbox.contended(), 0);
}

#[test]
fn held_when_the_reply_is_due_keeps_it_for_the_next_poll() {
    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    let ticket = mailbox.emergency_cleanup(0).unwrap();
    assert_eq!(serve(&mut worker, &mailbox, WORK), Progress::Stepped(ticket));
    assert_eq!(mailbox.held(|| worker.poll(&mailbox, 256, |_| LAST)), Ok(Err(Contended)));
    assert!(worker.is_busy());
    assert_eq!(mailbox.poll(ticket, 1), Ok(None));
    // The pool is not asked again: its work is done.
    let progress = worker.poll(&mailbox, 256, |_| Step { failed: true, ..WORK });
    assert_eq!(progress, Ok(Progress::Replied(ticket)));
    assert!(matches!(mailbox.poll(ticket, 1), Ok(Some(Ok(_)))));
}

#[test]
fn timed_out_before_begun_is_never_begun() {
    let (mailbox, mut worker) = (Mailbox::<1>::new(), CleanupWorker::new());
    let ticket = mailbox.emergency_cleanup(0).unwrap();
    assert_eq!(mailbox.poll(ticket, 499), Ok(None));
    assert_eq!(mailbox.poll(ticket, 500), Ok(Some(Err(CleanupError::TimedOut))));
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Idle);
}

#[test]
fn timed_out_during_the_work_reply_answers_nobody_else() {
    let (mailbox, mut worker) = (Mailbox::<1>::new(), CleanupWorker::new());
    let late = mailbox.emergency_cleanup(0).unwrap();
    assert_eq!(serve(&mut worker, &mailbox, WORK), Progress::Stepped(late));
    assert_eq!(mailbox.poll(late, 500), Ok(Some(Err(CleanupError::TimedOut))));
    let next = mailbox.emergency_cleanup(500).unwrap();
    assert_eq!(late.index, next.index);
    // I-REQ-2
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Replied(late));
    assert_eq!(mailbox.poll(next, 501), Ok(None));
    assert_eq!(mailbox.stale_replies(), Ok(1));
}

#[test]
fn failing_step_replies_failed() {
    let (mailbox, mut worker) = (Mailbox::<1>::new(), CleanupWorker::new());
    let ticket = mailbox.trigger_defragmentation(0).unwrap();
    let progress = serve(&mut worker, &mailbox, Step { failed: true, ..WORK });
    assert_eq!(progress, Progress::Replied(ticket));
    assert_eq!(mailbox.poll(ticket, 1), Ok(Some(Err(CleanupError::Failed))));
}

#[test]
fn cancelled_before_begun_is_never_begun() {
    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    let first = mailbox.emergency_cleanup(0).unwrap();
    let second = mailbox.trigger_defragmentation(0).unwrap();
    assert_eq!(mailbox.cancel(first), Ok(()));
    assert_eq!(mailbox.cancel(first), Err(TicketError::Stale));
    assert_eq!(serve(&mut worker, &mailbox, LAST), Progress::Replied(second));
}
