/** What is checked, how large, and which bugs are planted. A flag is a -D of the model. */

/** By the numbers of common.pml. */
export const properties = {
  1: 'no resurrection',
  2: 'no lost token set',
  3: 'one replay at most',
  4: 'one grant without a fault',
  5: 'nothing untouched given up',
  6: 'nothing stored revoked',
};

const refresh = { model: 'refresh', holds: '1–6, no deadlock' };
const people = { model: 'people', holds: '1, no deadlock' };
const rotation = { model: 'rotation', holds: '1, 2, no deadlock' };

export const configurations = [
  { ...refresh, flags: 'REPLICAS=3 REQUESTS=1 OTHERS=1 LOGOUTS=1', quick: true },
  { ...refresh, flags: 'CRASHES=4 REQUESTS=3', quick: true },
  { ...refresh, flags: 'LOSSES=2 EXPIRIES=2' },
  { ...refresh, flags: 'PAUSES=2 REPLICAS=3 REQUESTS=1 CRASHES=1' },
  { ...refresh, flags: 'UNSURES=3 REQUESTS=3', quick: true },
  { ...refresh, flags: 'UNSURES=1 REFUSALS=1 CRASHES=2 REQUESTS=3' },
  { ...refresh, flags: 'PAUSES=1 LOSSES=1 CRASHES=1 UNSURES=1' },
  { ...refresh, flags: 'LOSSES=1 LOGOUTS=1 OTHERS=1' },
  { ...refresh, flags: 'CRASHES=1 LOSSES=1', liveness: true },
  { ...refresh, flags: 'PAUSES=1 UNSURES=1 EXPIRIES=1', liveness: true },
  { ...people, flags: 'LOGINS=2 ENDS=1', quick: true },
  { ...people, flags: 'CRASHES=1 LOSSES=1' },
  { ...people, flags: 'OWN=1 CRASHES=1 LOSSES=1', quick: true },
  { ...people, flags: 'LOGOUTS=1 LOSSES=1' },
  { ...rotation, flags: 'REFRESHERS=2 ENDS=1 LOGOUTS=1' },
  { ...rotation, flags: 'NO_EPOCH_CHECK REFRESHERS=1' },
  { ...rotation, flags: 'PAUSES=2 ENDS=0 LOGOUTS=0', quick: true },
  { ...rotation, flags: 'PAUSES=1 CRASHES=1 ENDS=0 LOGOUTS=0', quick: true },
  { ...rotation, flags: 'CRASHES=1 LOSSES=1 REFRESHERS=1 LOGOUTS=0' },
  { ...rotation, flags: 'CRASHES=1 LOSSES=1 REFRESHERS=1 ENDS=0' },
];

const planted = (model) => (bug, flags, text) => ({ model, bug, flags, text });
const inRefresh = planted('refresh');
const inPeople = planted('people');
const inRotation = planted('rotation');

export const mutants = [
  inRefresh('LOCK_NEVER_ENDS', 'CRASHES=1', 'the lock of a dead holder stays'),
  { ...inRefresh('LOCK_NEVER_ENDS', 'CRASHES=1', 'the same, by the formula'), liveness: true },
  inRefresh('REPLACE_WITHOUT_GENERATION', 'OTHERS=1', 'replace without the generation check'),
  inRefresh('REPLACE_WITHOUT_GENERATION', 'PAUSES=1', 'the same: a holder whose lock ran out writes'),
  inRefresh('REPLACE_WITHOUT_EXISTENCE', 'LOGOUTS=1', 'replace writes where nothing is'),
  inRefresh('NO_CHECK_AFTER_LOCK', '', 'no re-check after the lock'),
  inRefresh('UNLOCK_WITHOUT_OWNER', 'PAUSES=2 CRASHES=2 LOSSES=1', 'unlock without the owner check'),
  inRefresh('UNLOCK_FORGETS', 'CRASHES=2 REFUSALS=1', 'every unlock forgets the count'),
  inRefresh('UNSURE_IS_NOT_COUNTED', 'UNSURES=3', 'a grant without an answer is not counted'),
  inRefresh('COUNT_IS_FORGOTTEN', 'CRASHES=2', 'the count ends before the session does'),
  inRefresh('LIMIT=3', 'CRASHES=2', 'granting is refused from three on'),
  inRefresh('HOLDERS_ARE_COUNTED', 'LOSSES=2', 'holders are counted, not grants begun'),
  inRefresh('ONE_LOCK_PER_PROVIDER', 'LOSSES=2 EXPIRIES=2', 'the count is not of one refresh token'),
  inRefresh('OWN_IS_TAKEN_FOR_THEIRS', 'LOSSES=1', 'own tokens, found after a lost reply, are revoked'),
  inPeople('NO_EPOCH_CHECK', '', 'no epoch check after create'),
  inPeople('NO_EPOCH_OF_TRANSACTION', '', 'the epoch is not the one that the transaction knew'),
  inPeople('CLOSE_KEEPS_EPOCH', '', 'close leaves the epoch'),
  inPeople('CLOSE_REMOVES_MEMBERS', 'CRASHES=1', 'close removes members before their sessions are gone'),
  inRotation('CLOSED_ONCE', 'LOGOUTS=0', '"end all" closes once'),
  inRotation('OLD_NEED_NOT_EXIST', 'ENDS=0', 'the old record need not have been there'),
  inRotation('NO_LOCK_FENCE', 'PAUSES=1 ENDS=0 LOGOUTS=0', 'a session moves though the lock was lost'),
  inRotation('DOUBT_IS_COPIED', 'CRASHES=1 ENDS=0 LOGOUTS=0', 'a token in doubt moves along'),
];
