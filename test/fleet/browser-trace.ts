import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher } from 'undici';

/** One request of a browser and the head of its answer. */
export interface TracedRequest {
  readonly url: URL;
  /** The replica that answered; `undefined` where it was somebody else. */
  readonly replica: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

/** What browsers ask, as it happens. */
export class BrowserTrace {
  readonly requests: TracedRequest[] = [];
  /** The connections under observation: pass them to each `Person`. */
  readonly agent: Dispatcher;
  /** Called before each request is sent. What it returns is awaited; what it throws becomes the request's fault. */
  onRequest: (url: URL) => Promise<unknown> | undefined = () => undefined;

  constructor() {
    this.agent = new Agent().compose((dispatch) => (options, handler) => {
      const url = new URL(options.path, options.origin);
      const traced = this.#trace(url, handler);
      const held = this.onRequest(url);
      if (held === undefined) return dispatch(options, traced);
      void held.then(() => dispatch(options, traced));
      return true;
    });
  }

  /** Those that replicas have answered. */
  get served(): (TracedRequest & { readonly replica: string })[] {
    return this.requests.flatMap((request) => {
      const { replica } = request;
      return replica === undefined ? [] : [{ ...request, replica }];
    });
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
