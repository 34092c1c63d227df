// What the worker is told: one value that holds every setting, checked and complete.

public import RoutingContract

/// Every setting of the worker, read once at the start from file, environment and flags; see
/// ``load(file:environment:flags:purpose:)``. Keys, bounds and defaults stand in ``SettingsReference`` as well.
///
/// It holds no token. A broker URL or proxy URL can hold a password, which no description of it shows.
public struct Settings: Sendable, Hashable {
    public var worker: Worker
    public var amqp: Broker
    /// The commands queues, in the order of the file; at least one. Names are unique.
    public var queues: [Queue]
    public var answers: Answers
    public var deadLetters: DeadLetters
    public var controls: Controls
    public var store: Store
    public var commands: Commands
    public var http: HTTP
    /// The folder of the orgs that have files of their own.
    public var orgsFolder: String?
    /// The orgs, each complete with what it takes over from `defaults`: those of the main file in its order, then those of
    /// ``orgsFolder`` by alias. Aliases and ids are unique. Empty only for ``Purpose/tools`` and with an ``orgsFolder``.
    public var orgs: [Org]
    /// The orgs of ``orgsFolder`` that cannot be served as long as their files are as they are, by alias.
    public var misconfigured: [MisconfiguredOrg]
    public var admin: Admin
    public var log: Log

    /// The worker as a whole.
    public struct Worker: Sendable, Hashable {
        /// Names this process in answers, dead letters and leases; 1 to 128 printable ASCII characters.
        /// Default: host name, hyphen, process id.
        public var name: String
        /// Commands in work at one time, over all queues; 1 to 10,000, default 64.
        public var concurrency: Int
        /// How long a drain may take before the process ends anyway; 0 to 1 h, default 30 s.
        public var drainTimeout: Duration
    }

    /// The connections to RabbitMQ.
    public struct Broker: Sendable, Hashable {
        /// One or more, tried in turn; `amqp://` or `amqps://`. Default `amqp://guest:guest@127.0.0.1:5672/`.
        public var urls: [SecretURL]
        /// PEM file of the authorities that a broker's certificate is checked against; `nil` where it is not given.
        public var caFile: String?
        /// The management API, with user and password, for looking at queues and policies; `nil` where it is not given.
        public var managementURL: SecretURL?
        /// PEM file of the client certificate; given together with `keyFile`.
        public var certificateFile: String?
        /// PEM file of the client certificate's key.
        public var keyFile: String?
        /// Proposed to the broker; whole seconds, 0 (off) to 10 min, default 30 s.
        public var heartbeat: Duration
        /// For connecting and logging in to one URL; 100 ms to 5 min, default 10 s.
        public var connectTimeout: Duration
        /// Waits between attempts to connect, with full jitter between the two ends.
        public var reconnect: Backoff
    }

    /// The ends of a jittered, growing wait; `minimum` ≤ `maximum`.
    public struct Backoff: Sendable, Hashable {
        public var minimum: Duration
        public var maximum: Duration
    }

    /// A commands queue.
    public struct Queue: Sendable, Hashable {
        /// 1 to 228 bytes; not the results queue, not the dead-letter queue.
        public var name: String
        /// Deliveries that the broker may have outstanding here; 1 to 65,535, at least ``concurrency``.
        /// Default: twice the worker's concurrency (65,535 at most).
        public var prefetch: Int
        /// The share of the worker's concurrency that is kept for this queue; 0 (default) to the worker's.
        public var concurrency: Int
        /// Alias or id of the org for commands that name none; one of ``Settings/orgs``.
        public var defaultOrg: String?
        /// The AuthorizationContext for commands that name none, before the org's own.
        public var defaultContext: String?
        /// Aliases or ids of the orgs that may use the queue; empty (default) allows all.
        public var allowedOrgs: [String]
    }

    /// What operators do with dead letters.
    public struct DeadLetters: Sendable, Hashable {
        /// Where the trail goes; default `routing.audit`.
        public var auditQueue: String
        /// How old dead letters may get before `discard --overdue` takes them away; 1 min to 366 d, default none.
        public var maximumAge: Duration?
    }

    /// What operators say of orgs, for the whole fleet.
    public struct Controls: Sendable, Hashable {
        /// Default true.
        public var isEnabled: Bool
        /// Default `routing.controls`.
        public var queue: String
    }

    /// Where answers and dead letters go.
    public struct Answers: Sendable, Hashable {
        /// Where answers go whose command names no address; default `routing.results`.
        public var queue: String
        /// Default `routing.dead-letters`.
        public var deadLetterQueue: String
        /// The addresses that a command may name; default direct reply-to and `routing.replies.*`. None matches a commands queue or the
        /// dead-letter queue.
        public var allowReplyTo: [ReplyPattern]
        /// Whether an answer by direct reply-to is also sent to ``queue``; default true.
        public var copyDirectReplies: Bool
        /// How long a publish may wait for the broker's confirm; 1 s to 10 min, default 30 s.
        public var confirmTimeout: Duration
    }

    /// Where outcomes are remembered.
    public struct Store: Sendable, Hashable {
        public enum Location: Sendable, Hashable {
            /// Forgotten when the process ends: for trials.
            case memory
            /// A database file.
            case sqlite(path: String)
            /// A URI for libpq: `postgres://`, TLS by its `sslmode`.
            case postgres(SecretURL)
            /// `redis://`, or with TLS `rediss://`.
            case redis(SecretURL)
        }

        /// Default `sqlite:route-worker.db`.
        public var location: Location
        /// PEM file of the authorities that the server's certificate is checked against.
        public var caFile: String?
        /// How long outcomes are kept; 1 min to 366 d, default 24 h. Commands issued longer ago are `expired`.
        public var retention: Duration
        /// How long failed and unknown outcomes are kept; ``retention`` to 366 d, default 14 d.
        public var failureRetention: Duration
        /// How long a claim protects its holder; 1 s to 1 h, default 60 s. Longer than each org's call timeout by
        /// ``timeout`` and 5 s, so that a call and its record fit in.
        public var lease: Duration
        /// For one operation of the store; 100 ms to 1 min, default 5 s.
        public var timeout: Duration
        /// How long the store may wait for more to put into one batch; 0 (default) to 100 ms.
        public var linger: Duration
    }

    /// What counts as a valid command, beside the contract.
    public struct Commands: Sendable, Hashable {
        /// Bytes; 1 KiB to 16 MiB, default 256 KiB.
        public var maximumBody: Int
        /// Levels of JSON nesting; 4 to 512, default 64.
        public var maximumDepth: Int
        /// How far ahead of the worker's clock an issue time may lie; 0 to 24 h, default 5 min.
        public var futureTolerance: Duration
        /// Deadline after issue for `Transfer` and `Conference` that carry none; 1 s to 60 s, default 40 s. (Salesforce
        /// counts a transfer as failed after 60 s, in which more calls than the route must fit.)
        public var transferDeadline: Duration
        /// Whether `Replay` headers in messages count on every queue; default false.
        public var honourReplay: Bool
        /// The queue to which dead letters are replayed, on which `Replay` headers always count: whoever writes to it
        /// means a replay. Default `routing.commands.replay`.
        public var replayQueue: String
        /// Into how many partitions the first commands queue is spread; 1 to 128, `nil` where it is one queue.
        public var partitions: Int?
        /// Where commands for the partitions are published; default `routing.commands.partitioned`.
        public var partitionExchange: String
    }

    /// Calls to Salesforce, for all orgs.
    public struct HTTP: Sendable, Hashable {
        /// For DNS and TCP, and again for the proxy's tunnel and for TLS; 100 ms to 1 min, default 5 s.
        public var connectTimeout: Duration
        /// PEM file of authorities; `nil` takes the system's.
        public var caFile: String?
        /// HTTP proxy for all calls (`http://host:port`); `nil` for none.
        public var proxy: SecretURL?
        /// Connections to one origin at a time; 1 to 10,000, default 64.
        public var maximumConnections: Int
        /// How long an idle connection is kept; 1 s to 1 h, default 4 s: servers commonly close after 5, and a request that crosses
        /// with such a close is of unknown effect.
        public var idleTimeout: Duration
        /// Bytes of an answer's body that are read; 1 KiB to 16 MiB, default 256 KiB.
        public var maximumAnswer: Int
    }

    /// An org and how it is called.
    public struct Org: Sendable, Hashable {
        /// 1 to 64 letters, digits, `-`, `_`, `.`; never of the form of an org id.
        public var alias: String
        public var id: OrgID
        /// Its own file in ``Settings/orgsFolder``; `nil` for one of the main file.
        public var file: String?
        /// Scheme, host and port alone, without a trailing slash: `https://acme.my.salesforce-scrt.com`. Plain http only
        /// for a loopback host.
        public var baseURL: String
        /// The AuthorizationContext for commands and queues that name none.
        public var defaultContext: String?
        /// Default lenient.
        public var validation: KnownOrg.Validation
        /// For one call altogether; 100 ms to 2 min, default 10 s.
        public var callTimeout: Duration
        public var token: TokenSource
        /// Default ``BodyFormat/json``.
        public var bodyFormat: BodyFormat
        /// Default ``UnknownEffect/report``.
        public var unknownEffect: UnknownEffect
        /// As ``Commands/transferDeadline``, which is the default.
        public var transferDeadline: Duration
        public var retry: Retry
        /// Calls to this org at one time; 1 to 10,000, default: the worker's concurrency.
        public var maximumConcurrency: Int
        /// Calls to this org a second, of all workers of a commands queue together; 1 to 100,000, `nil` for no limit.
        public var rateLimit: Int?
        /// `nil` where the org is not parked.
        public var parking: Parking?
    }

    /// When an org counts as in trouble, and how its return is tried.
    public struct Parking: Sendable, Hashable {
        /// The part of its calls that must have failed; 1 to 100, default 50.
        public var failurePercent: Int
        /// Calls below which it is never parked for failures; 1 to 10,000, default 5.
        public var minimumCalls: Int
        /// How far back calls count; 1 s to 1 h, default 30 s.
        public var window: Duration
        /// Waits between probes, with jitter; 100 ms to 1 h, default 1 s to 60 s.
        public var probe: Backoff
    }

    /// Where an org's bearer token comes from. The token itself is no setting.
    public enum TokenSource: Sendable, Hashable {
        /// A file that holds the token and nothing else but white space.
        case file(String)
        /// An environment variable.
        case environment(String)
        /// The OAuth 2.0 JWT bearer flow.
        case oauth(OAuth)
    }

    /// What the OAuth 2.0 JWT bearer flow (RFC 7523) needs.
    public struct OAuth: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
        /// With its path; plain http only for a loopback host.
        public var tokenURL: String
        /// The app's consumer key; no description shows it.
        public var clientID: String
        public var username: String
        /// Default `https://login.salesforce.com`.
        public var audience: String
        /// 1 to 8 paths of PEM files, in the order in which they are tried.
        public var keyFiles: [String]

        public var description: String { "<OAuth credentials for \(tokenURL)>" }
        public var customMirror: Mirror { Mirror(self, children: ["tokenURL": tokenURL], displayStyle: .struct) }
    }

    /// How a payload is sent.
    public enum BodyFormat: String, Sendable, Hashable, CaseIterable {
        /// `application/json`.
        case json
        /// `multipart/form-data` with one part named `json`.
        case multipart
    }

    /// What happens to a route whose call may have taken effect.
    public enum UnknownEffect: String, Sendable, Hashable, CaseIterable {
        /// Ends as `unknown`; no second call.
        case report
        /// Is called again: may give two effects.
        case retry
        /// The conversation's routing is cleared, then it is called again (`Initial` only).
        case clearThenRoute = "clear-then-route"
    }

    /// The budget of one command's calls.
    public struct Retry: Sendable, Hashable {
        /// Calls, the first included; 1 to 100, default 10.
        public var attempts: Int
        /// From the first call to the last; 0 to 1 h, default 2 min.
        public var budget: Duration
        /// Waits between calls, with full jitter; each 1 ms to 10 min, default 200 ms to 20 s.
        public var backoff: Backoff
    }

    /// Probes and metrics over HTTP.
    public struct Admin: Sendable, Hashable {
        /// Default true.
        public var isEnabled: Bool
        /// Default 127.0.0.1:9464.
        public var address: ListenAddress
        /// 1 s to 1 h, default 2 min.
        public var livenessLimit: Duration
    }

    /// Where to listen.
    public struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
        /// A name or an address, without brackets.
        public var host: String
        /// 0 takes a free one.
        public var port: Int

        public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// What is written, and how.
    public struct Log: Sendable, Hashable {
        /// The names are swift-log's.
        public enum Level: String, Sendable, Hashable, CaseIterable {
            case trace, debug, info, notice, warning, error, critical
        }

        public enum Format: String, Sendable, Hashable, CaseIterable { case human, json }

        /// Default info.
        public var level: Level
        /// Default human.
        public var format: Format
        /// Bytes that may wait to be written; 64 KiB to 64 MiB, default 1 MiB.
        public var buffer: Int
    }
}

extension Settings {
    /// The decoder's rules: limits, deadlines, and where answers may go.
    public var decodingRules: DecodingRules {
        var rules = DecodingRules()
        rules.maximumBodyBytes = commands.maximumBody
        rules.maximumDepth = commands.maximumDepth
        rules.futureTolerance = commands.futureTolerance
        rules.retention = store.retention
        rules.transferDeadline = commands.transferDeadline
        rules.resultsQueue = answers.queue
        rules.replyAllowList = answers.allowReplyTo
        rules.reservedQueues = Set(ownQueues.map(\.name))
        rules.honoursReplay = commands.honourReplay
        return rules
    }

    /// The first commands queue, where it is spread over partitions.
    public var partitionedQueue: PartitionedQueue? {
        guard let count = commands.partitions, let queue = queues.first else { return nil }
        return PartitionedQueue(name: queue.name, count: count, exchange: commands.partitionExchange)
    }

    /// What a worker takes commands from: the commands queues, the first of them by its partitions where it has some, and
    /// behind them the replay queue unless it is one of them.
    public var consumedQueues: [Queue] {
        var consumed = queues
        if let partitioned = partitionedQueue {
            let partitions = partitioned.partitions.map { name in
                var partition = queues[0]
                partition.name = name
                return partition
            }
            consumed.replaceSubrange(0..<1, with: partitions)
        }
        if queues.contains(where: { $0.name == commands.replayQueue }) { return consumed }
        return consumed + [
            Queue(
                name: commands.replayQueue, prefetch: min(2 * worker.concurrency, 65_535), concurrency: 0,
                defaultOrg: nil, defaultContext: nil, allowedOrgs: [])
        ]
    }

    /// Names of the queues of commands. A queue in whose place the partitions are may still hold some, for workers that go on
    /// with it.
    var commandsQueues: [String] { Set((queues + consumedQueues).map(\.name)).sorted() }

    /// Every queue that is the worker's own, and what it is: no answer may go there.
    var ownQueues: [(name: String, what: String)] {
        let commands = commandsQueues.map { ($0, "the commands queue") }
        let others = [
            (answers.deadLetterQueue, "the dead-letter queue"), (deadLetters.auditQueue, "the audit queue"),
            (controls.queue, "the controls queue"),
        ]
        let sharing = partitionedQueue.map { $0.countingQueues + $0.locks } ?? []
        return commands + others + sharing.map { ($0, "the queue by which workers share partitions,") }
    }

    /// What the decoder wants to know of a consumed queue.
    public func decodingDefaults(of queue: Queue) -> QueueDefaults {
        QueueDefaults(
            org: queue.defaultOrg, context: queue.defaultContext, allowedOrgs: Set(queue.allowedOrgs),
            routingKeyIsConversation: partitionedQueue?.partitions.contains(queue.name) ?? false,
            honoursReplay: queue.name == commands.replayQueue)
    }

    /// The orgs as the decoder knows them. A misconfigured one is among them where its id is known: its commands are
    /// valid, and only its calls have to wait.
    public var orgDirectory: OrgDirectory {
        let stopped = misconfigured.compactMap { org in
            org.id.map { KnownOrg(id: $0, alias: org.alias, defaultContext: org.defaultContext) }
        }
        let served = orgs.map { org in
            KnownOrg(
                id: org.id, alias: org.alias, defaultContext: org.defaultContext, validation: org.validation,
                transferDeadline: org.transferDeadline)
        }
        // The later one counts.
        return OrgDirectory(stopped + served)
    }
}
