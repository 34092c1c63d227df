// What surrounds the workers of a simulation: its clock and chance, the broker, the store, Salesforce, and their troubles.

import AMQP
import AMQPMessage
import FleetControls
import IdempotencyStore
import InteractionAPI
import LoopSupport
import NIOCore
import NIOEmbedded
import RoutingContract

@testable import RouteWorker

/// One loop on a clock of its own, on the thread of the test: the same seed leads to the same run.
///
/// (Sets and dictionaries have an order of their own in each process, unless SWIFT_DETERMINISTIC_HASHING is set.)
final class SimulatedWorld: @unchecked Sendable {
    /// One thing wrong with an org, for a while.
    struct Trouble {
        var org: OrgID
        var from: Duration
        var to: Duration
        var result: CallResult
        var latency: ClosedRange<Int64>
    }

    static let results = "routing.results"
    static let replies = "replies.platform"
    static let deadLetters = "routing.dead-letters"
    /// Where commands are handed on to.
    static let elsewhere = "elsewhere"
    /// Long enough for what is under way between the store and the call.
    static let oneTurn: Duration = .seconds(1)

    let loop = EmbeddedEventLoop()
    var random: SeededGenerator
    private(set) lazy var broker = SimulatedBroker(self)
    private(set) lazy var witness = SimulationWitness(self)
    private lazy var backend = InMemoryStoreBackend(clock: StoreClock { [unowned self] in wall })
    var troubles: [Trouble] = []
    /// When a queue is away.
    var absences: [(queue: String, from: Duration, to: Duration)] = []
    /// When publisher and store take their time.
    var slowness: [(from: Duration, to: Duration)] = []
    /// Whether parking queues are not the workers' to use.
    var refusesLots = false
    var controls = ControlState()
    /// When operators last changed what is done with an org's commands: what was started then, when none was called, may have
    /// been more than the org's limit.
    var turned: [OrgID: Duration] = [:]
    /// Since when an org must not be called.
    var closed: [OrgID: Duration] = [:]
    /// Of a hundred operations of publisher, store and parking, so many fail until ``calmAt``.
    var faultPercent = 0
    var calmAt: Duration = .zero
    /// Whether the calls of a conversation have to come in the order of its commands.
    var keepsOrder = true
    /// After how many deliveries workers end a command.
    var deliveryLimit = PipelineSettings.usualDeliveryLimit
    /// Whether a route of unknown effect may be called again.
    var mayRepeat = false

    private(set) var violations: [String] = []
    private(set) var lines: [String] = []

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    var uptime: Duration { .nanoseconds(Int64(loop.now.uptimeNanoseconds)) }
    var wall: Timestamp { Timestamp(milliseconds: 1_700_000_000_000 + uptime.wholeMilliseconds) }

    func transcript(_ line: @autoclosure () -> String) { lines.append("\(uptime.wholeMilliseconds) \(line())") }

    func violated(_ rule: String) {
        violations.append(rule)
        transcript("VIOLATION \(rule)")
    }

    // MARK: Time and chance

    func chosen(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &random) }

    func after(_ milliseconds: ClosedRange<Int64>, _ body: @escaping () -> Void) {
        nonisolated(unsafe) let body = body
        let delay = TimeAmount.milliseconds(.random(in: milliseconds, using: &random))
        _ = loop.scheduleTask(in: delay) { body() }
    }

    func delay(_ milliseconds: ClosedRange<Int64>) async {
        await withCheckedContinuation { waiter in after(milliseconds) { waiter.resume() } }
    }

    /// Begins what goes on whatever becomes of the worker that asked for it.
    @discardableResult
    func begin<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) -> Task<Value, Never> {
        Task(executorPreference: LoopExecutor.of(loop)) { await body() }
    }

    func there<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) async -> Value {
        await begin(body).value
    }

    // MARK: Trouble

    /// Time of the publisher or the store.
    func lag(_ milliseconds: ClosedRange<Int64>) async {
        let isSlow = slowness.contains { $0.from <= uptime && uptime < $0.to }
        await delay(isSlow && chosen(0...3) == 0 ? 0...14_000 : milliseconds)
    }

    func isAbsent(_ queue: String) -> Bool {
        absences.contains { $0.queue == queue && $0.from <= uptime && uptime < $0.to }
    }

    func isClosed(to org: OrgID) -> Bool {
        slowness.isEmpty && closed[org].map { uptime - $0 > Self.oneTurn } ?? false
    }

    /// Whether commands of the org may have been read and discarded just now.
    func mayDiscard(_ org: OrgID) -> Bool {
        controls.control(of: org).mode == .shadow || turned[org].map { uptime - $0 < .seconds(60) } ?? false
    }

    func fails() -> Bool { uptime < calmAt && chosen(0...99) < faultPercent }

    // MARK: The platform

    /// - Parameter encoded: what to send, with its number as `correlation_id`.
    func send(_ message: SimulationWitness.Sent, encoded: (Int) -> Message) {
        _ = broker.put(encoded(witness.sends(message)), in: message.queue)
    }

    // MARK: Salesforce

    /// A call for a command of the test.
    func call(
        _ command: RouteCommand, timeout: Duration, by worker: SimulatedWorker, wasStopped: Bool
    ) async -> CallResult {
        guard let number = witness.number(of: command) else { return await answer(command.key.org, timeout) }
        let call = witness.calls(command, number: number, timeout: timeout, by: worker, wasStopped: wasStopped)
        let result = await answer(command.key.org, timeout)
        switch result {
        case .answered(let answer):
            witness.ends(call, number: number, tookEffect: answer.status == 202, isKnown: true)
        case .effectUnknown: witness.ends(call, number: number, tookEffect: chosen(0...1) == 0, isKnown: false)
        case .notSent: witness.ends(call, number: number, tookEffect: false, isKnown: true)
        }
        return result
    }

    /// Also for probes.
    private func answer(_ org: OrgID, _ timeout: Duration) async -> CallResult {
        let trouble = troubles.first { $0.org == org && $0.from <= uptime && uptime < $0.to }
        let latency = Int64.random(in: trouble?.latency ?? 5...200, using: &random)
        guard latency < timeout.wholeMilliseconds else {
            await delay(timeout.wholeMilliseconds...timeout.wholeMilliseconds)
            return ScriptedAPI.lost
        }
        await delay(latency...latency)
        return trouble?.result ?? ScriptedAPI.accepted
    }

    // MARK: The store

    func store(_ operation: StoreOperation, for worker: Int? = nil) async -> StoreReply {
        guard let reply = try? await backend.run([operation]).first else { preconditionFailure("it is never closed") }
        if case (.claim(let request), .claim(let result)) = (operation, reply), let worker {
            transcript("\(worker) claims \(request.key.request): \("\(result)".prefix { $0 != "(" })")
            witness.claimed(result, request, by: worker)
        }
        return reply
    }
    /// What the store remembers.
    func records(of keys: [CommandKey]) async -> [CommandKey: CommandRecord] {
        var records: [CommandKey: CommandRecord] = [:]
        for key in keys { if case .found(let record?) = await store(.find(key)) { records[key] = record } }
        return records
    }
}
