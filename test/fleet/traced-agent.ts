import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher } from 'undici';

/** One request of a browser and the head of its answer. */
export interface TracedRequest {
  readonly url: URL;
  /** The replica that answered; `undefined` for answers that are not the fleet's. */
  readonly replica: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

/** A browser's connections under observation: pass it to a `Person` as its agent. */
export class TracedAgent extends Agent {
  readonly requests: TracedRequest[] = [];
  /** Called before each request is sent. What it returns is awaited; what it throws becomes the request's fault. */
  onRequest: (url: URL) => Promise<unknown> | undefined = () => undefined;

  override dispatch(options: Agent.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const url = new URL(options.path, options.origin);
    const traced = this.#trace(url, handler);
    const held = this.onRequest(url);
    if (held === undefined) return super.dispatch(options, traced);
    void held.then(() => super.dispatch(options, traced));
    return true;
  }

  #trace(url: URL, handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
    return {
      onRequestStart: (...start) => handler.onRequestStart?.(...start),
      onResponseStart: (...start) => {
        const headers = start[2];
        const replica = headers['coatcheck-replica'];
        this.requests.push({ url, headers, replica: replica === undefined ? undefined : String(replica) });
        handler.onResponseStart?.(...start);
      },
      onResponseData: (...data) => handler.onResponseData?.(...data),
      onResponseEnd: (...end) => handler.onResponseEnd?.(...end),
      onResponseError: (...fault) => handler.onResponseError?.(...fault),
    };
  }
}
