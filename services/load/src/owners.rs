//! Straight to the node that decides about a promotion.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Deserialize;

use crate::connection::HttpReply;
use crate::target::{Ask, Fleet, Node, Unanswered};

/// Asked another node, and was not to be passed on.
const MISDIRECTED: u16 = 421;

/// Who decides, by promotion, as far as nodes have told. Who asks another one is told where to go.
#[derive(Default)]
pub(crate) struct Owners(RwLock<HashMap<String, Arc<Node>>>);

#[derive(Deserialize)]
struct Problem {
    url: Option<String>,
}

impl Owners {
    pub(crate) fn close_idle(&self) {
        self.0.read().values().for_each(|node| node.close_idle());
    }

    /// Sends a grab to the owner of its promotion, or to a node that tells who that is and then there.
    pub(crate) async fn send(
        &self,
        fleet: &Fleet,
        ask: &Ask,
        promotion_id: &str,
    ) -> Result<HttpReply, Unanswered> {
        let ask = &Ask { straight: true, ..ask.clone() };
        let known = self.0.read().get(promotion_id).cloned();
        let node = known.unwrap_or_else(|| fleet.next());
        let reply = self.ask(fleet, &node, ask, promotion_id).await?;
        match self.told(fleet, &reply, promotion_id) {
            Some(owner) => self.ask(fleet, &owner, ask, promotion_id).await,
            None => Ok(reply),
        }
    }

    async fn ask(
        &self,
        fleet: &Fleet,
        node: &Arc<Node>,
        ask: &Ask,
        promotion_id: &str,
    ) -> Result<HttpReply, Unanswered> {
        let answered = fleet.send_to(node, ask).await;
        let decides = answered.as_ref().is_ok_and(|reply| reply.status != MISDIRECTED);
        match decides {
            true if !self.is_known(node, promotion_id) => {
                self.0.write().insert(promotion_id.to_owned(), Arc::clone(node));
            }
            true => {}
            false => drop(self.0.write().remove(promotion_id)),
        }
        answered
    }

    fn is_known(&self, node: &Arc<Node>, promotion_id: &str) -> bool {
        self.0.read().get(promotion_id).is_some_and(|known| Arc::ptr_eq(known, node))
    }

    /// Another node that an answer names.
    fn told(&self, fleet: &Fleet, reply: &HttpReply, promotion_id: &str) -> Option<Arc<Node>> {
        if reply.status != MISDIRECTED {
            return None;
        }
        let Problem { url } = serde_json::from_slice(&reply.body).ok()?;
        let url = url?;
        let mut owners = self.0.write();
        // One that decides about another promotion too keeps its connections.
        let known = owners.values().find(|node| node.url() == url).cloned();
        let owner = known.or_else(|| fleet.another(&url).ok().map(Arc::new))?;
        owners.insert(promotion_id.to_owned(), Arc::clone(&owner));
        Some(owner)
    }
}
