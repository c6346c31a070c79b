//! Tables beside those that are read.

use seckill_views::PromotionState::{Active, Finished};
use seckill_views::{Changes, Comparison, NewRebuild, Phase, Step, StepError, SwitchMode};

use super::samples::{Engine, progress, promotion, write};

fn start(views: &[&str]) -> Step {
    let views = views.iter().map(|name| (*name).to_owned()).collect();
    let at = jiff::Timestamp::UNIX_EPOCH;
    Step::Start(NewRebuild { views, rate: None, switch: SwitchMode::Auto, at })
}

fn compared() -> Step {
    let (rows, new, different, differences) = Default::default();
    Step::Compared(Comparison { rows, new, different, differences })
}

async fn take(views: &Engine, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        views.step(&step).await.unwrap().unwrap();
    }
}

async fn phase(views: &Engine) -> Option<Phase> {
    views.rebuild().await.unwrap().map(|rebuild| rebuild.phase)
}

pub(crate) async fn tables_are_made_beside_others_and_exchanged_with_them(views: Engine) {
    let beside = views.beside();
    let (old, new) = (promotion("sale", 3, Active), promotion("sale", 3, Finished));
    let partition = old.position.partition;
    write(&views, std::slice::from_ref(&old), &[]).await;
    assert_eq!(beside.progress(partition).await.unwrap(), None);

    take(&views, [start(&["promotions", "grabs_per_second"])]).await;
    views.create_beside().await.unwrap();
    views.create_beside().await.unwrap();
    take(&views, [Step::Created]).await;
    // What has no tables there is read as otherwise, and not written.
    assert_eq!(beside.promotion("sale").await.unwrap(), None);
    let open = views.open_promotions(partition).await.unwrap();
    assert_eq!(beside.open_promotions(partition).await.unwrap(), open);
    let changes = |row| Changes { promotions: vec![row], ..Changes::none(progress(partition, 4)) };
    let number = views.rebuild().await.unwrap().unwrap().number;
    views.write_beside(changes(new.clone()), number).await.unwrap();
    views.write_beside(changes(promotion("sale", 9, Active)), number + 1).await.unwrap();
    assert_eq!(beside.promotion("sale").await.unwrap(), Some(new.clone()));
    assert_eq!(views.promotion("sale").await.unwrap(), Some(old.clone()));
    assert_eq!(beside.progress(partition).await.unwrap(), Some(progress(partition, 4)));

    take(&views, [Step::Reached, compared(), Step::Flip]).await;
    assert_eq!(views.promotion("sale").await.unwrap(), Some(new.clone()));
    assert_eq!(beside.promotion("sale").await.unwrap(), Some(old.clone()));
    let later = promotion("sale", 5, Finished);
    views.write_both(changes(later.clone()), number).await.unwrap();
    for views in [&views, &beside] {
        assert_eq!(views.promotion("sale").await.unwrap(), Some(later.clone()));
    }
    // Told by somebody who wrote the tables that were read before: the rows are not in these.
    let both = views.progress(partition).await.unwrap().unwrap().next_offset;
    views.write(Changes::none(progress(partition, both + 9))).await.unwrap();
    assert_eq!(views.next_offset(partition).await.unwrap(), both);
    views.write_both(Changes::none(progress(partition, both + 9)), number).await.unwrap();
    assert_eq!(views.next_offset(partition).await.unwrap(), both + 9);
    take(&views, [Step::Undo, Step::Flip, Step::Switch, Step::Flip, Step::Drop]).await;
    let (_, revision) = views.rebuild_and_revision().await.unwrap();
    views.delete_beside(revision).await.unwrap();
    views.delete_beside(revision).await.unwrap();
    assert_eq!(views.step_from(revision - 1, &Step::Dropped).await.unwrap(), Err(StepError::Moved));
    take(&views, [Step::Dropped]).await;
    assert_eq!(phase(&views).await, None);
    for views in [&views, &beside] {
        assert_eq!(views.promotion("sale").await.unwrap(), Some(later.clone()));
    }
}

pub(crate) async fn of_several_who_start_a_rebuild_one_does(views: Engine) {
    let begin = || {
        let views = views.clone();
        tokio::spawn(async move { views.step(&start(&[])).await.unwrap() })
    };
    let mut begun = Vec::new();
    for starting in [begin(), begin(), begin(), begin()] {
        begun.push(starting.await.unwrap());
    }
    assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 1, "{begun:?}");
    let mut refused = begun.iter().filter_map(|begun| begun.as_ref().err());
    assert!(refused.all(|error| matches!(error, StepError::UnderWay { .. })), "{begun:?}");
    assert_eq!(phase(&views).await, Some(Phase::Preparing));
}
