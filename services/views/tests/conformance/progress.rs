//! Progress goes forward only; why it stopped comes and goes.

use seckill_views::{Changes, Progress};

use super::samples::{Engine, progress};

async fn write(views: &Engine, progress: Progress) {
    views.write(Changes::none(progress)).await.unwrap();
}

pub(crate) async fn progress_goes_forward_only(views: Engine) {
    for (written, reached) in [(2, 2), (9, 9), (8, 9), (9, 9), (10, 10), (1, 10)] {
        write(&views, progress(3, written)).await;
        assert_eq!(views.progress(3).await.unwrap(), Some(progress(3, reached)));
    }
    assert_eq!(views.progress(2).await.unwrap(), None);
}

pub(crate) async fn a_partition_has_no_term_before_its_first_fence(views: Engine) {
    write(&views, progress(0, 5)).await;
    let fenceless = Progress { term: None, ..progress(0, 6) };
    write(&views, fenceless.clone()).await;
    assert_eq!(views.progress(0).await.unwrap(), Some(fenceless));
}

/// Set, changed, cleared and set again where it stands, each time seen at once.
pub(crate) async fn a_reason_is_set_and_cleared_at_one_offset(views: Engine) {
    write(&views, progress(1, 7)).await;
    for reason in [Some("b"), Some("a"), Some("a"), None, None, Some("a"), None] {
        let stopped = Progress { stopped: reason.map(Into::into), ..progress(1, 7) };
        write(&views, stopped.clone()).await;
        assert_eq!(views.progress(1).await.unwrap(), Some(stopped));
    }
}

pub(crate) async fn a_reason_goes_when_the_partition_moves_on(views: Engine) {
    let stopped = Progress { stopped: Some("unreadable".into()), ..progress(1, 7) };
    write(&views, stopped.clone()).await;
    write(&views, progress(1, 8)).await;
    assert_eq!(views.progress(1).await.unwrap(), Some(progress(1, 8)));
    write(&views, stopped).await; // a late one, of who has not got as far
    assert_eq!(views.progress(1).await.unwrap(), Some(progress(1, 8)));
}

pub(crate) async fn an_empty_reason_is_none(views: Engine) {
    write(&views, Progress { stopped: Some(String::new()), ..progress(1, 7) }).await;
    assert_eq!(views.progress(1).await.unwrap(), Some(progress(1, 7)));
}
