// A small crowd for a demonstration: from this page, as any client would, a bounded number of customers.
import { ask, path } from './api.js';

export const MOST = 20000;
const AT_ONCE = 24;

// Sends so many new customers; each wants one coupon, and tries again where nothing was decided.
export async function sendCrowd(id, customers, said) {
  const told = { granted: 0, refused: 0, failed: 0 };
  const name = `crowd-${Date.now().toString(36)}`;
  let next = 0;
  let answered = 0;
  const begun = Date.now();
  const customer = async () => {
    while (next < customers) {
      const answer = await grab(id, `${name}-${next++}`);
      told[answer.status === 201 || answer.status === 200 ? 'granted' : answer.status === 409 ? 'refused' : 'failed'] += 1;
      answered += 1;
      if (answered % 500 === 0) said(true, `crowd: ${answered} of ${customers} customers were answered.`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, customer));
  said(told.failed === 0, `crowd: ${customers} customers in ${((Date.now() - begun) / 1000).toFixed(1)} s: ${told.granted} granted, `
    + `${told.refused} refused, ${told.failed} failed.`);
}

async function grab(id, customer) {
  const ours = () => ask(`/v1/promotions/${path(id)}/grabs`, { body: { customer_id: customer } });
  let answer = await ours();
  // Safe: the same request is the same wish.
  for (let tries = 0; tries < 5 && (answer.status === 0 || answer.status === 429 || answer.status >= 503); tries += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    answer = await ours();
  }
  return answer;
}
