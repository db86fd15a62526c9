import { codeInBrackets, fine, type Verdict, wrong } from './finding.ts';

/** Whether anything answers HTTP there. Any status counts: to a stranger few would say yes. */
export async function judgeAnswer(
  url: string,
  timeoutMs: number,
  request: RequestInit = {},
): Promise<Verdict> {
  const { host } = new URL(url);
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await fetch(url, { ...request, redirect: 'manual', signal });
    await response.body?.cancel();
    const says = `${host} answers (status ${response.status})`;
    return request.method === 'POST' && [404, 405].includes(response.status)
      ? wrong(`${says}: nothing takes a POST there`, 'correct the path')
      : fine(says);
  } catch (fault) {
    return wrong(
      `${host} cannot be reached${codeInBrackets(fault)}`,
      'see whether it runs, its address is right, and the network between lets us through',
    );
  }
}
