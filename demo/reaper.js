// One per fleet: knows the process ids of the fleet's children and ends them when the fleet is gone, however it went:
// our stdin ends with the parent, even on SIGKILL. Plain JavaScript, so that it starts in a few milliseconds.
import { createInterface } from 'node:readline';

// A Ctrl-C or a closing terminal is the fleet's to handle; we outlive it by design.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});

/** False where the process has ended by itself, which is what we want. */
const send = (pid, signal) => {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
    throw error;
  }
};

const pids = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  const pid = Number(line.slice(1));
  if (line.startsWith('+')) pids.add(pid);
  else pids.delete(pid);
}

for (const pid of pids) send(pid, 'SIGTERM');
const deadlineMs = Date.now() + 5_000;
const poll = setInterval(() => {
  const overdue = Date.now() > deadlineMs;
  for (const pid of pids) {
    if (!send(pid, overdue ? 'SIGKILL' : 0)) pids.delete(pid);
  }
  if (pids.size === 0 || overdue) clearInterval(poll);
}, 50);
