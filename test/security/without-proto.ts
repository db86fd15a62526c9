/** One whole life of a session; started by a test in a Node without `Object.prototype.__proto__`. */
import { startWorld } from '../world.ts';

const world = await startWorld();
const person = await world.signIn('ada');
const statuses = [];
for (const path of ['/auth/session', '/api/eln/entities', '/api/systems/employees/me']) {
  statuses.push((await person.get(`${world.publicUrl}${path}?__proto__=x&constructor=y`)).status);
}
statuses.push((await person.request('POST', `${world.publicUrl}/auth/logout`)).status);
await world.close();
console.log(JSON.stringify({ hasProto: '__proto__' in {}, statuses }));
