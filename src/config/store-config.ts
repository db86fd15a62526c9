/** The session store. */
export interface StoreConfig {
  /** `rediss://…`, `redis://…` on loopback, or `memory://` where publicUrl is loopback. Secret in part. */
  url: string;
  /** Absolute path; read anew for each connection, and every few seconds of one. Default: the password in the URL, if any. */
  passwordFile?: string;
  /** In place of a password. Default: the user and password of the URL and `passwordFile`. */
  auth?: ElasticacheIamConfig;
  /** Absolute path of authorities in PEM; read anew for each connection. Default: the system's. */
  caFile?: string;
  /** Default: false. */
  cluster: boolean;
  /** Default: the URL leads to the primary. */
  sentinel?: SentinelConfig;
  /** Replicas that must have a session before anybody relies on it. Default: 1 where there are replicas, else 0. */
  acknowledgedBy?: number;
  /** Longest wait for one operation, ms. Default: 250. */
  deadlineMs: number;
  /** Default: `cc:`. */
  keyPrefix: string;
  nearCache: NearCacheConfig;
}

/** Who we are to an ElastiCache that knows its users by IAM. */
export interface ElasticacheIamConfig {
  type: 'elasticache-iam';
  /** Id and name of the ElastiCache user. */
  user: string;
  /** Name of the serverless cache, or id of the replication group. */
  cache: string;
  /** Such as `eu-central-1`. */
  region: string;
  /** Default: false. */
  serverless: boolean;
}

/** Who knows where the primary of the session store is. */
export interface SentinelConfig {
  /** By which the sentinels know it. */
  name: string;
  /** Each `host:port`. At least one. */
  nodes: string[];
  /** Of the sentinels themselves. Default: none. Secret. */
  password?: string;
}

/** Sessions kept in the process, so that the usual request asks the store nothing. */
export interface NearCacheConfig {
  /**
   * `tracked`: where the store tells of changes, else off. `dangerously-untracked`: also where it does not; a session that
   * was ended elsewhere is served for up to the maximum age. Default: `tracked`.
   */
  mode: 'tracked' | 'dangerously-untracked' | 'off';
  /** ms. Default: 30 s. */
  maximumAgeMs: number;
  /** Default: 10,000. */
  maximumEntries: number;
}
