// From settings to the parts of a worker.

import AMQP
import Foundation
import IdempotencyStore
import InteractionAPI
import Logging
import LoopSupport
import NIOCore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import RouteWorker
import RoutingContract
import SQLiteIdempotencyStore
import WorkerSettings

extension Settings {
    /// - Parameters:
    ///   - loop: where batches are put together; best the callers' own.
    ///   - monitoring: what measures the batches, where something does.
    func openStore(
        on loop: (any EventLoop)? = nil, monitoring: Monitoring? = nil
    ) throws -> any IdempotencyStore & StoreInspection {
        let executor = loop.map(LoopExecutor.of)
        func batching(_ backend: some StoreBackend) -> any IdempotencyStore & StoreInspection {
            guard let monitoring else {
                return BatchingIdempotencyStore(backend, settings: batchSettings, executor: executor)
            }
            let metered = MeteredStoreBackend(backend, health: monitoring.board, factory: monitoring.registry)
            return BatchingIdempotencyStore(metered, settings: batchSettings, executor: executor)
        }
        let retention = Retention(
            succeeded: store.retention, failed: store.failureRetention, futureTolerance: commands.futureTolerance)
        // Below the callers' own limit, so that they learn why.
        let timeLimit = store.timeout * 4 / 5
        do {
            switch store.location {
            case .memory:
                return batching(InMemoryStoreBackend(retention: retention))
            case .sqlite(let path):
                return batching(try SQLiteStoreBackend(path: path, retention: retention))
            case .postgres(let url):
                let backend = PostgresStoreBackend(
                    target: try PostgresTarget(url: url.secretValue, caFile: store.caFile), retention: retention,
                    timeLimit: timeLimit)
                return batching(backend)
            case .redis(let url):
                let backend = RedisStoreBackend(
                    target: try RedisTarget(url: url.secretValue, caFile: store.caFile), retention: retention,
                    timeLimit: timeLimit, loop: loop)
                return batching(backend)
            }
        } catch {
            throw CommandFailure.configuration("store.url: \(error)")
        }
    }

    private var batchSettings: BatchSettings {
        var settings = BatchSettings()
        settings.timeLimit = store.timeout
        settings.linger = store.linger
        return settings
    }

    /// A publisher that says in the log what becomes of its connection.
    func makePublisher(
        _ role: String, _ logger: Logger, onResults: @escaping @Sendable ([PublishResult]) -> Void = { _ in }
    ) throws -> AMQPPublisher {
        let log = ConnectionLog(role, logger: logger)
        return try AMQPPublisher(
            brokerConfiguration(role), onResults: onResults,
            onEvent: { event in
                switch event {
                case .connected: logger.info("connected", metadata: [LogKey.connection: "\(role)"])
                case .connectionLost(let error): log.lost(error)
                case .retrying(let error, let delay): log.failed(error, retryingAfter: delay)
                case .channelLost(let error):
                    logger.warning(
                        "publishing goes on over another channel",
                        metadata: [LogKey.connection: "\(role)", LogKey.error: "\(error)"])
                case .blocked(let reason):
                    logger.warning(
                        "the broker takes no messages; answers wait",
                        metadata: [LogKey.connection: "\(role)", LogKey.reason: "\(reason)"])
                case .unblocked:
                    logger.info("the broker takes messages again", metadata: [LogKey.connection: "\(role)"])
                }
            })
    }

    func makeCaller(on loop: any EventLoop) throws -> Caller {
        var client = InteractionClientSettings(endpoints: [])
        client.connections.connectionsPerOrigin = http.maximumConnections
        client.connections.connectTimeout = http.connectTimeout
        client.connections.proxyTimeout = http.connectTimeout
        client.connections.tlsTimeout = http.connectTimeout
        client.connections.idleTimeout = http.idleTimeout
        client.connections.answerBodyBytes = http.maximumAnswer
        // An org's `callTimeout` bounds the whole call; no phase of waiting may be cut shorter, whatever
        // an org is told later.
        client.connections.waitTimeout = Self.longestCall
        client.connections.writeTimeout = Self.longestCall
        client.connections.answerHeadTimeout = Self.longestCall
        client.connections.answerBodyTimeout = Self.longestCall
        client.extraCAFile = http.caFile
        client.userAgent = "route-worker/\(RouteWorkerCommand.version)"
        do {
            client.proxy = http.proxy.map { HTTPProxy($0) }
            let tokens = try TokensByOrg(self, like: client, on: loop)
            let caller = Caller(
                client: try InteractionClient(settings: client, tokens: tokens, eventLoop: loop), tokens: tokens)
            caller.client.replaceOrgs(with: try caller.client.prepare(endpoints, misconfigured: misconfiguredOrgs))
            return caller
        } catch {
            throw CommandFailure.configuration("\(error)")
        }
    }

    /// The upper bound of `callTimeout`.
    static let longestCall = Duration.seconds(120)

    var endpoints: [OrgEndpoint] { orgs.map { OrgEndpoint($0) } }

    /// Why no call can be made for orgs that are known all the same.
    var misconfiguredOrgs: [OrgID: String] {
        var reasons: [OrgID: String] = [:]
        for org in misconfigured {
            if let id = org.id, let problem = org.problems.first { reasons[id] = "\(problem)" }
        }
        return reasons
    }

    /// Where the orgs' tokens come from.
    var tokenSources: (fixed: [OrgID: InteractionAPI.TokenSource], oauth: [OrgID: OAuthCredentials]) {
        var fixed: [OrgID: InteractionAPI.TokenSource] = [:]
        var oauth: [OrgID: OAuthCredentials] = [:]
        for org in orgs {
            switch org.token {
            case .file(let path): fixed[org.id] = .file(path)
            case .environment(let name): fixed[org.id] = .environment(name)
            case .oauth(let credentials):
                oauth[org.id] = OAuthCredentials(
                    tokenURL: credentials.tokenURL, clientID: credentials.clientID, username: credentials.username,
                    audience: credentials.audience, keyFiles: credentials.keyFiles)
            }
        }
        return (fixed, oauth)
    }

    /// How each org's commands are worked on.
    var policies: [OrgID: OrgPolicy] {
        var policies: [OrgID: OrgPolicy] = [:]
        // Their commands are parked until their files are mended.
        for org in misconfiguredOrgs.keys { policies[org] = OrgPolicy() }
        for org in orgs {
            policies[org.id] = OrgPolicy(
                callTimeout: org.callTimeout,
                retry: RetryPolicy(
                    attempts: org.retry.attempts, budget: org.retry.budget,
                    backoff: AMQP.Backoff(minimum: org.retry.backoff.minimum, maximum: org.retry.backoff.maximum)),
                unknownEffect: UnknownEffectPolicy(rawValue: org.unknownEffect.rawValue)!,
                maximumConcurrency: org.maximumConcurrency < worker.concurrency ? org.maximumConcurrency : nil,
                rateLimit: org.rateLimit.map(Double.init), parking: org.parking.map { ParkingPolicy($0) })
        }
        return policies
    }

    var pipelineSettings: PipelineSettings {
        PipelineSettings(
            worker: worker.name, concurrency: worker.concurrency,
            queues: consumedQueues.map {
                PipelineSettings.Queue(
                    name: $0.name, prefetch: $0.prefetch, reservedConcurrency: $0.concurrency,
                    defaults: decodingDefaults(of: $0), lock: lock(of: $0))
            },
            answers: PipelineSettings.Answers(
                queue: answers.queue, deadLetterQueue: answers.deadLetterQueue,
                copiesDirectReplies: answers.copyDirectReplies, confirmTimeout: answers.confirmTimeout),
            lease: store.lease, retention: store.retention, policies: policies)
    }

    /// What the worker consumes as long as it runs.
    var subscriptions: [Subscription] {
        let counting = partitionedQueue.map { [Subscription(queue: $0.workers, prefetch: 1)] } ?? []
        return counting + consumedQueues.filter { lock(of: $0) == nil }.map(subscription)
    }

    /// The queue whose consumers are the workers that share the orgs' rate limits.
    var fleetQueue: String { partitionedQueue?.workers ?? queues[0].name }

    /// Those of the partitions that it gets hold of.
    var partitionSubscriptions: [Subscription] { consumedQueues.filter { lock(of: $0) != nil }.map(subscription) }

    private func subscription(_ queue: Queue) -> Subscription {
        Subscription(
            queue: queue.name, prefetch: UInt16(clamping: queue.prefetch), bodyLimit: keptBody, lock: lock(of: queue))
    }

    private func lock(of queue: Queue) -> String? {
        guard let partitioned = partitionedQueue else { return nil }
        return partitioned.partitions.firstIndex(of: queue.name).map(partitioned.lock)
    }

    /// Bytes of a message's body that are kept at all, so that a prefetch of huge ones does not fill the memory. More than
    /// a command may have, so that most that is too large can be told so in a dead letter; the rest is left to the broker's
    /// own dead-lettering.
    var keptBody: UInt64 { UInt64(max(1 << 20, 4 * commands.maximumBody)) }
}

extension ParkingPolicy {
    fileprivate init(_ parking: Settings.Parking) {
        self.init(
            failurePercent: parking.failurePercent, minimumCalls: parking.minimumCalls, window: parking.window,
            probe: AMQP.Backoff(minimum: parking.probe.minimum, maximum: parking.probe.maximum))
    }
}

/// What makes the calls, and what gives it its tokens.
struct Caller: Sendable {
    let client: InteractionClient
    let tokens: TokensByOrg
}

extension OrgEndpoint {
    fileprivate init(_ org: Settings.Org) {
        let format: BodyFormat =
            switch org.bodyFormat {
            case .json: .json
            case .multipart: .multipart
            }
        self.init(org: org.id, baseURL: org.baseURL, bodyFormat: format)
    }
}

extension TokensByOrg {
    /// Tokens are fetched over the same proxy and with the same authorities as calls are made.
    fileprivate init(
        _ settings: Settings, like client: InteractionClientSettings, on loop: any EventLoop
    ) throws(InteractionSettingsError) {
        let sources = settings.tokenSources
        var oauth = OAuthSettings(orgs: sources.oauth)
        oauth.connectTimeout = settings.http.connectTimeout
        oauth.extraCAFile = client.extraCAFile
        oauth.proxy = client.proxy
        oauth.userAgent = client.userAgent
        self.init(
            fixed: FixedTokens(sources.fixed, environment: ProcessInfo.processInfo.environment, eventLoop: loop),
            oauth: try OAuthTokens(oauth, eventLoop: loop, logger: settings.makeLogger("tokens")))
    }
}

extension HTTPProxy {
    fileprivate init(_ url: SecretURL) {
        self.init(host: url.host, port: url.port ?? 80, authorization: url.basicAuthorization)
    }
}
