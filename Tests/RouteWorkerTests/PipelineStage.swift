// A stage for the pipeline: real lanes, decoder and memory store; a scripted API and publisher around them.

import AMQP
import AMQPMessage
import Foundation
import IdempotencyStore
import InteractionAPI
import NIOPosix
import RoutingContract
import WorkerLog

@testable import RouteWorker

/// An API that answers as told, and remembers what was asked.
final class ScriptedAPI: RoutingAPI {
    private struct State {
        var script: [CallResult] = []
        var calls: [RouteCommand] = []
        var held: [CheckedContinuation<Void, Never>] = []
        var holds = false
        /// Calls that are not held.
        var passing = 0
        /// `nil` for calls of both kinds.
        var heldKind: CommandKind?

        func isHeld(_ command: RouteCommand) -> Bool {
            holds && calls.count > passing && (heldKind ?? command.key.kind) == command.key.kind
        }

        var arrivals: [(Int, CheckedContinuation<Void, Never>)] = []
        var underWay = 0
        var mostAtOnce = 0
    }

    static let accepted = CallResult.answered(
        CallAnswer(status: 202, body: Array(#"{"success":true,"psrId":"0JR000000000001"}"#.utf8)))
    static let busy = CallResult.answered(CallAnswer(status: 503, body: []))
    static let lost = CallResult.effectUnknown(CallFailure(reason: "connection-reset", message: "reset"))

    private let lock = NSLock()
    nonisolated(unsafe) private var state = State()  // only reached with the lock held

    /// What some calls are told whenever they are made; `nil` for what the script says.
    private let answering: @Sendable (RouteCommand) -> CallResult?

    /// - Parameter script: one result for each call, then `accepted` for ever.
    init(_ script: [CallResult] = [], answering: @escaping @Sendable (RouteCommand) -> CallResult? = { _ in nil }) {
        self.answering = answering
        state.script = script
    }

    /// What the next calls are told.
    func tell(_ results: CallResult...) { lock.withLock { state.script = results } }

    var calls: [RouteCommand] { lock.withLock { state.calls } }

    /// The most calls that were under way together.
    var mostAtOnce: Int { lock.withLock { state.mostAtOnce } }

    var underWay: Int { lock.withLock { state.underWay } }

    /// Calls wait from now on, until ``letGo()``.
    ///
    /// - Parameters:
    ///   - calls: so many, counted from the first of all, do not.
    ///   - kind: only these do; probes are deletes.
    func hold(after calls: Int = 0, _ kind: CommandKind? = nil) {
        lock.withLock { (state.holds, state.passing, state.heldKind) = (true, calls, kind) }
    }

    func letGo() {
        lock.withLock { state.holds = false }
        letGoHeld()
    }

    /// Those that wait go on; those to come wait.
    func letGoHeld() {
        let held = lock.withLock {
            defer { state.held = [] }
            return state.held
        }
        for call in held { call.resume() }
    }

    /// Returns when so many calls have been made.
    func waitForCalls(_ count: Int) async {
        await withCheckedContinuation { waiter in
            let isThere = lock.withLock {
                if state.calls.count >= count { return true }
                state.arrivals.append((count, waiter))
                return false
            }
            if isThere { waiter.resume() }
        }
    }

    func perform(_ command: RouteCommand, timeout: Duration) async -> CallResult {
        let (result, arrived, holds) = lock.withLock {
            state.calls.append(command)
            state.underWay += 1
            state.mostAtOnce = max(state.mostAtOnce, state.underWay)
            let count = state.calls.count
            let arrived = state.arrivals.filter { $0.0 <= count }.map(\.1)
            state.arrivals.removeAll { $0.0 <= count }
            let result =
                answering(command) ?? (state.script.isEmpty ? Self.accepted : state.script.removeFirst())
            return (result, arrived, state.isHeld(command))
        }
        for waiter in arrived { waiter.resume() }
        if holds {
            await withCheckedContinuation { call in
                let goesOn = lock.withLock {
                    if state.holds { state.held.append(call) }
                    return !state.holds
                }
                if goesOn { call.resume() }
            }
        }
        lock.withLock { state.underWay -= 1 }
        return result
    }
}

/// A broker that takes everything, unless told otherwise for a queue.
final class ScriptedPublisher: MessagePublisher, BestEffortPublisher {
    private let lots: ScriptedLots?
    private let lock = NSLock()
    nonisolated(unsafe) private var published: [OutgoingMessage] = []  // only reached with the lock held
    nonisolated(unsafe) private var script: [String: [PublishOutcome]] = [:]  // likewise

    /// - Parameters:
    ///   - script: for each queue one outcome for each publish, then `confirmed` for ever.
    ///   - lots: get what is published to them.
    init(_ script: [String: [PublishOutcome]] = [:], lots: ScriptedLots? = nil) {
        self.script = script
        self.lots = lots
    }

    func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
        for message in messages where message.routingKey.contains(".parked.") {
            lots?.put(message.message, in: message.routingKey)
        }
        return lock.withLock {
            published += messages
            return messages.map { message in
                guard var outcomes = script[message.routingKey], !outcomes.isEmpty else { return .confirmed }
                let outcome = outcomes.removeFirst()
                script[message.routingKey] = outcomes
                return outcome
            }
        }
    }

    func publishBestEffort(_ message: OutgoingMessage) { lock.withLock { published.append(message) } }

    func messages(to queue: String) -> [Message] {
        lock.withLock { published.filter { $0.routingKey == queue }.map(\.message) }
    }
}

/// A pipeline at work.
struct PipelineStage: Sendable {
    static let queue = "routing.commands"
    /// Of the queue, where it comes and goes.
    static let lock = "routing.commands.owner"
    /// Lines are written in earnest, to where nobody reads them.
    static let log = LineLog(
        label: "test", format: .human, writer: LogWriter(descriptor: open("/dev/null", O_WRONLY)))
    static let org = KnownOrg(id: OrgID("00D000000000001")!, alias: "acme", defaultContext: "P_C")

    let pipeline: DeliveryPipeline
    let api: ScriptedAPI
    let publisher: ScriptedPublisher
    let settlements: AsyncStream<Settlement>
    let lots: ScriptedLots?

    /// Runs `body` beside a pipeline that consumes, and drains it afterwards.
    ///
    /// - Parameter isLocked: the queue comes and goes with ``lock``, and is not there yet; see ``takeOver()``.
    static func run(
        api: ScriptedAPI = ScriptedAPI(), publisher: ScriptedPublisher = ScriptedPublisher(),
        policy: OrgPolicy = OrgPolicy(retry: RetryPolicy(backoff: Backoff(minimum: .zero, maximum: .zero))),
        concurrency: Int = 4, lots: ScriptedLots? = nil, store: (any IdempotencyStore)? = nil,
        metrics: PipelineMetrics = PipelineMetrics(), prefetch: Int = 65_535, otherOrgs: [OrgID] = [],
        isLocked: Bool = false, log: LineLog = Self.log, _ body: (PipelineStage) async throws -> Void
    ) async rethrows {
        let (settlements, settle) = AsyncStream<Settlement>.makeStream()
        var rules = DecodingRules()
        rules.replyAllowList.append(.prefix("replies."))
        var policies = [org.id: policy]
        for other in otherOrgs { policies[other] = OrgPolicy() }
        let pipeline = DeliveryPipeline(
            settings: PipelineSettings(
                worker: "test", concurrency: concurrency,
                queues: [.init(name: queue, prefetch: prefetch, lock: isLocked ? lock : nil)],
                answers: .init(publishAttempts: 2), policies: policies),
            loop: MultiThreadedEventLoopGroup.singleton.next(),
            decoder: CommandDecoder(rules: rules, orgs: OrgDirectory([org])),
            store: store ?? BatchingIdempotencyStore(InMemoryStoreBackend()), api: api, publisher: publisher,
            directReplies: publisher, log: log,
            metrics: metrics, wallClock: StoreClock.system.now)
        let stage = PipelineStage(
            pipeline: pipeline, api: api, publisher: publisher, settlements: settlements, lots: lots)
        if let lots {
            lots.connect(pipeline) { settle.yield($0) }
            await pipeline.park(in: lots)
        }
        async let running: Void = pipeline.run { batch in
            for settlement in batch where !ScriptedLots.isOfLot(settlement) { settle.yield(settlement) }
            lots?.settle(batch)
        }
        if !isLocked { pipeline.receive(.subscribed(queue: queue, generation: 1)) }
        do { try await body(stage) } catch {
            await stage.end()
            throw error
        }
        await stage.end()
        await running
    }

    /// Without it the pipeline would run on.
    private func end() async {
        api.letGo()
        _ = await pipeline.drain(within: .seconds(60))
    }

    /// Gets the queue's lock, and consumes it.
    func takeOver(generation: UInt64 = 1) async -> [String]? {
        pipeline.receive(.lockHeld(Self.lock))
        let taken = await pipeline.takeOver([Self.queue])
        pipeline.receive(.subscribed(queue: Self.queue, generation: generation))
        return taken
    }

    func deliver(_ deliveries: Delivery...) { pipeline.receive(.deliveries(deliveries)) }

    /// Returns once what was delivered before has been taken: calls of the actor may come to the loop ahead of it.
    func taken() async { await withCheckedContinuation { taken in pipeline.loop.execute { taken.resume() } } }

    /// The next `count` settlements.
    func settled(_ count: Int) async -> [Settlement] {
        var all: [Settlement] = []
        for await settlement in settlements {
            all.append(settlement)
            if all.count == count { break }
        }
        return all
    }

    static func delivery(
        _ tag: UInt64, generation: UInt64 = 1, command: String = "route", request: Int = 1, conversation: String = "c1",
        type: String = "Initial", attribute: String = "", issuedAt: Timestamp? = nil, deadline: Timestamp? = nil,
        replyTo: String? = nil,
        redelivered: Bool = false
    ) -> Delivery {
        let requestID =
            "6f1c2a3e-0d4b-4c5a-9e8f-" + String(repeating: "0", count: 12 - "\(request)".count) + "\(request)"
        var headers: FieldTable = [
            "Command": .string(command), "RequestId": .string(requestID), "OrgId": .string("acme"),
        ]
        if let issuedAt { headers["IssuedAt"] = .int64(issuedAt.milliseconds) }
        if let deadline { headers["Deadline"] = .int64(deadline.milliseconds) }
        let routing = command == "route" ? #","routingType":"\#(type)"\#(attribute)"# : ""
        return Delivery(
            receipt: Receipt(generation: generation, channel: 1, deliveryTag: tag), queue: queue, routingKey: queue,
            redelivered: redelivered,
            message: Message(
                properties: MessageProperties(headers: headers, correlationID: "call-\(tag)", replyTo: replyTo),
                body: Array(#"{"conversationIdentifier":"\#(conversation)"\#(routing)}"#.utf8)))
    }

    static func receipt(_ tag: UInt64) -> Receipt { Receipt(generation: 1, channel: 1, deliveryTag: tag) }
}

extension Message {
    /// The text of a string header.
    func header(_ name: String) -> String? {
        guard case .string(let text) = properties.headers[name] else { return nil }
        return text
    }

    var text: String { String(decoding: body, as: UTF8.self) }
}
