// What surrounds the workers of a simulation: its clock and chance, the broker, the store, Salesforce, and what they saw.

import AMQP
import AMQPMessage
import FleetControls
import IdempotencyStore
import InteractionAPI
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
    static let deadLetters = "routing.dead-letters"
    /// Where commands are handed on to.
    static let elsewhere = "elsewhere"

    let loop = EmbeddedEventLoop()
    var random: SeededGenerator
    private(set) lazy var broker = SimulatedBroker(self)
    private(set) lazy var backend = InMemoryStoreBackend(clock: StoreClock { [unowned self] in wall })
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
    /// Of a hundred operations of publisher, store and parking, so many fail until ``calmAt``.
    var faultPercent = 0
    var calmAt: Duration = .zero
    /// Whether the calls of a conversation have to come in the order of its commands.
    var keepsOrder = true

    private(set) var violations: [String] = []
    private(set) var lines: [String] = []
    private var underWay: [ConversationKey: Int] = [:]
    private var lastCalled: [ConversationKey: Int] = [:]
    private var effects: [RequestID: Int] = [:]
    /// Whose the newest claim of each command is, and whether it was called under.
    private var claims: [RequestID: (worker: Int, isUsed: Bool)] = [:]
    private(set) var outcomes: [String: Set<String>] = [:]
    private(set) var handedOn: Set<String> = []
    /// The commands of the test by their RequestIds.
    var commands: [String: (number: Int, conversation: ConversationKey)] = [:]
    /// Outcomes, and states of gates, that came about.
    var seen: Set<String> = []

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    var uptime: Duration { .nanoseconds(Int64(loop.now.uptimeNanoseconds)) }
    var wall: Timestamp { Timestamp(milliseconds: 1_700_000_000_000 + uptime.wholeMilliseconds) }

    func transcript(_ line: @autoclosure () -> String) { lines.append("\(uptime.wholeMilliseconds) \(line())") }

    func violated(_ rule: String) {
        violations.append(rule)
        transcript("VIOLATION \(rule)")
    }

    func after(_ milliseconds: ClosedRange<Int64>, _ body: @escaping () -> Void) {
        nonisolated(unsafe) let body = body
        let delay = TimeAmount.milliseconds(.random(in: milliseconds, using: &random))
        _ = loop.scheduleTask(in: delay) { body() }
    }

    func delay(_ milliseconds: ClosedRange<Int64>) async {
        await withCheckedContinuation { waiter in after(milliseconds) { waiter.resume() } }
    }

    /// Time of the publisher or the store.
    func lag(_ milliseconds: ClosedRange<Int64>) async {
        let isSlow = slowness.contains { $0.from <= uptime && uptime < $0.to }
        await delay(isSlow && Int.random(in: 0..<4, using: &random) == 0 ? 0...14_000 : milliseconds)
    }

    func isAbsent(_ queue: String) -> Bool {
        absences.contains { $0.queue == queue && $0.from <= uptime && uptime < $0.to }
    }

    func fails() -> Bool { uptime < calmAt && Int.random(in: 0..<100, using: &random) < faultPercent }

    // MARK: What is seen

    /// A call for a command of the test.
    func call(_ command: RouteCommand, number: Int, of worker: Int, timeout: Duration) async -> CallResult {
        let (conversation, request) = (command.conversationKey, command.key.request)
        transcript("call \(number) of \(command.conversation) by \(worker)")
        if keepsOrder {
            if underWay[conversation, default: 0] > 0 {
                violated("two calls at a time for \(conversation.conversation)")
            }
            if let last = lastCalled[conversation], last > number { violated("call \(number) after \(last)") }
        }
        if claims[request].map({ $0.worker == worker && !$0.isUsed }) != true {
            violated("no claim for call \(number)")
        }
        claims[request]?.isUsed = true
        lastCalled[conversation] = number
        underWay[conversation, default: 0] += 1
        let result = await answer(command.key.org, timeout)
        switch result {
        case .answered(let answer) where answer.status == 202: effects[request, default: 0] += 1
        case .effectUnknown: effects[request, default: 0] += Int.random(in: 0...1, using: &random)
        case .answered, .notSent: break
        }
        if command.key.kind == .route, effects[request, default: 0] > 1 { violated("two effects of \(number)") }
        underWay[conversation]! -= 1
        transcript("called \(number) of \(command.conversation) by \(worker)")
        return result
    }

    /// Also for probes.
    func answer(_ org: OrgID, _ timeout: Duration) async -> CallResult {
        let trouble = troubles.first { $0.org == org && $0.from <= uptime && uptime < $0.to }
        let latency = Int64.random(in: trouble?.latency ?? 5...200, using: &random)
        guard latency < timeout.wholeMilliseconds else {
            await delay(timeout.wholeMilliseconds...timeout.wholeMilliseconds)
            return ScriptedAPI.lost
        }
        await delay(latency...latency)
        return trouble?.result ?? ScriptedAPI.accepted
    }

    func claimed(_ result: ClaimResult, _ request: ClaimRequest, by worker: Int) {
        switch result {
        case .acquired, .interrupted, .superseded: claims[request.key.request] = (worker, false)
        case .completed, .inProgress, .conflict: break
        }
    }

    func published(_ message: OutgoingMessage) {
        guard let request = message.message.header("RequestId") else { return }
        if message.routingKey == Self.elsewhere { return handOn(request) }
        guard [Self.results, Self.deadLetters].contains(message.routingKey),
            let outcome = message.message.header("Outcome")
        else { return }
        seen.insert(outcome)
        transcript("answer \(outcome) to \(request.suffix(4))")
        outcomes[request, default: []].insert(outcome)
        // What is too late binds nothing: delivered again, since its ack was lost, it may end otherwise.
        let endings = outcomes[request]!.subtracting([Outcome.expired.rawValue])
        if endings.count > 1 { violated("two endings of \(request): \(endings)") }
    }

    private func handOn(_ request: String) {
        seen.insert("handed on")
        transcript("handed on \(request.suffix(4))")
        // What comes again, since its ack was lost, comes late.
        guard handedOn.insert(request).inserted, outcomes[request] == nil, keepsOrder,
            let (number, conversation) = commands[request]
        else {
            return
        }
        if let last = lastCalled[conversation], last > number { violated("\(number) handed on after \(last)") }
        lastCalled[conversation] = number
    }
}
