// What is seen of a simulation's commands, and the promises that this must not break.

import AMQP
import AMQPMessage
import IdempotencyStore
import RoutingContract

@testable import RouteWorker

/// Sees every message, claim, call and answer, and says what must not have been.
///
/// Confined to the loop of its world, as all of the simulation.
final class SimulationWitness: @unchecked Sendable {
    /// A message of the test; its number is its `correlation_id`.
    struct Sent {
        var request: RequestID
        /// `nil` for garbage.
        var key: CommandKey?
        var conversation: ConversationKey
        var queue: String
        /// What besides the RequestId makes a duplicate one.
        var context: String
        var body: [UInt8]
        var issuedAt: Timestamp?
        var deadline: Timestamp?
        var replyTo: String?
        var isReplay = false
        /// Whether the replay accepts a second effect.
        var acceptsDuplicate = false
        var outcomes: Set<Outcome> = []
        var isAnswered = false
        var isHandedOn = false
        var isParked = false
        var isDiscarded = false
        var deadLetters: Set<Outcome> = []
        /// Under which `message_id` each outcome was announced.
        var answerIDs: [Outcome: String] = [:]
    }

    private struct Command {
        var claim: (worker: Int, until: Timestamp, isUsed: Bool)?
        /// The workers that have claimed it, and when each did last.
        var holders: [Int: Duration] = [:]
        var calls = 0
        var effects = 0
        /// One, and one more for each replay that accepts another.
        var mostEffects = 1
        var isReplayed = false
        var mayHaveTakenEffect = false
        /// Those that the RequestId stays bound to.
        var endings: Set<Outcome> = []
        /// The store may have done something after it had failed to answer.
        var isInLimbo = false
    }

    private unowned let world: SimulatedWorld
    private var sent: [Int: Sent] = [:]
    private var commands: [RequestID: Command] = [:]
    private var underWay: [ConversationKey: Int] = [:]
    private var lastCalled: [ConversationKey: Int] = [:]
    /// Workers that were gone in the middle of something, be it for a while.
    private var gone: Set<Int> = []
    private var lastWoken: Duration = .seconds(-60)
    /// What came about: outcomes, states of gates, and turns that are easily missed.
    var seen: Set<String> = []

    init(_ world: SimulatedWorld) { self.world = world }

    /// - Returns: the number of the message.
    func sends(_ message: Sent) -> Int {
        let number = sent.count + 1
        sent[number] = message
        if message.isReplay {
            commands[message.request, default: Command()].isReplayed = true
            seen.insert("replayed")
        }
        if message.acceptsDuplicate { commands[message.request]!.mostEffects += 1 }
        world.transcript(
            "send \(number), a \(message.isReplay ? "replay" : "command") of \(message.request) in \(message.queue)")
        return number
    }

    /// What was sent, without what has become of it.
    func sent(as message: Message) -> Sent? {
        guard let sent = number(of: message).flatMap({ sent[$0] }) else { return nil }
        return Sent(
            request: sent.request, key: sent.key, conversation: sent.conversation, queue: sent.queue,
            context: sent.context, body: sent.body, issuedAt: sent.issuedAt, deadline: sent.deadline,
            replyTo: sent.replyTo)
    }

    /// The number of the message that a call is for; none for probes and for derived deletes.
    func number(of command: RouteCommand) -> Int? {
        guard let number = command.reply.correlationID.flatMap({ Int($0) }), sent[number]?.key == command.key else {
            return nil
        }
        return number
    }

    private func number(of message: Message) -> Int? {
        message.properties.correlationID.flatMap { Int($0) }.flatMap { sent[$0] == nil ? nil : $0 }
    }

    func isGone(_ worker: Int) { gone.insert(worker) }

    func wakes() { lastWoken = world.uptime }

    // MARK: Claims

    func claimed(_ result: ClaimResult, _ request: ClaimRequest, by worker: Int) {
        switch result {
        case .acquired, .interrupted, .superseded:
            commands[request.key.request, default: Command()].claim = (
                worker, world.wall + request.lease, false
            )
            commands[request.key.request]!.holders[worker] = world.uptime
        case .completed, .inProgress, .conflict: break
        }
    }

    func isInLimbo(_ operation: StoreOperation) {
        let key: CommandKey? =
            switch operation {
            case .claim(let request): request.key
            case .record(_, let claim), .release(let claim, _): claim.key
            default: nil
            }
        if let key { commands[key.request, default: Command()].isInLimbo = true }
    }

    /// Whether somebody may have left a claim of it without a word.
    private func mayBeAbandoned(_ command: Command) -> Bool {
        command.isInLimbo || !world.slowness.isEmpty || !gone.isDisjoint(with: command.holders.keys)
    }

    // MARK: Calls

    /// A call that is under way.
    struct Call {
        var command: RouteCommand
        /// It left a worker that was stopped after its last look at the lease, or whose clock had stood since its claim: such
        /// a one can be late for everything.
        var isLate: Bool
    }

    func calls(
        _ command: RouteCommand, number: Int, timeout: Duration, by worker: SimulatedWorker, wasStopped: Bool
    ) -> Call {
        let (conversation, request) = (command.conversationKey, command.key.request)
        world.transcript("call \(number) of \(command.conversation) by \(worker.number)")
        let known = commands[request] ?? Command()
        let claimedAt = known.holders[worker.number] ?? .zero
        let stood = worker.stoodUntil.map { claimedAt <= $0 } ?? false
        let isLate = wasStopped || stood
        if isLate { seen.insert("late") }
        if !isLate {
            if let deadline = command.deadline, world.wall + timeout > deadline {
                world.violated("call \(number) for longer than its deadline")
            }
            if world.isClosed(to: command.key.org), world.uptime - worker.wokeAt > SimulatedWorld.oneTurn {
                world.violated("call \(number) for an org that must not be called")
            }
            if worker.isToWait(for: command.key.org) { world.violated("call \(number) before it was asked for") }
            if known.claim.map({ $0.worker == worker.number && !$0.isUsed }) != true {
                world.violated("no claim for call \(number)")
            }
            if let claim = known.claim, world.wall + timeout > claim.until {
                world.violated("call \(number) for longer than its lease")
            }
            if known.isReplayed ? known.endings.contains(.succeeded) : !known.endings.isEmpty {
                world.violated("call \(number) after it was \(known.endings)")
            }
            if world.keepsOrder {
                if underWay[conversation, default: 0] > 0 {
                    world.violated("two calls at a time for \(conversation.conversation)")
                }
                if let last = lastCalled[conversation], last > number, sent[number]?.isHandedOn != true {
                    world.violated("call \(number) after \(last)")
                }
            }
            lastCalled[conversation] = number
            underWay[conversation, default: 0] += 1
        }
        commands[request, default: Command()].claim?.isUsed = true
        commands[request]!.calls += 1
        return Call(command: command, isLate: isLate)
    }

    func ends(_ call: Call, number: Int, tookEffect: Bool, isKnown: Bool) {
        let request = call.command.key.request
        if tookEffect || !isKnown { commands[request]!.mayHaveTakenEffect = true }
        if tookEffect { commands[request]!.effects += 1 }
        let command = commands[request]!
        if call.command.key.kind == .route, !world.mayRepeat, command.effects > command.mostEffects {
            world.violated("\(command.effects) effects of \(number)")
        }
        if !call.isLate { underWay[call.command.conversationKey]! -= 1 }
        world.transcript("called \(number) of \(call.command.conversation)")
    }

    // MARK: Answers

    func publishes(_ outgoing: OutgoingMessage) {
        let (message, queue) = (outgoing.message, outgoing.routingKey)
        if !outgoing.mandatory || message.properties.deliveryMode != 2 {
            world.violated("a message to \(queue) that may get lost")
        }
        if let number = ParkedMessage(message).flatMap({ number(of: $0.message) }) { sent[number]!.isParked = true }
        guard let number = number(of: message) else { return }
        if queue == SimulatedWorld.elsewhere { return handsOn(number) }
        guard let outcome = message.header(HeaderName.outcome).flatMap({ Outcome(rawValue: $0) }) else { return }
        seen.insert(outcome.rawValue)
        world.transcript("\(outcome) of \(number) in \(queue)")
        sent[number]!.outcomes.insert(outcome)
        switch queue {
        case SimulatedWorld.results, SimulatedWorld.replies:
            if queue != sent[number]!.replyTo ?? SimulatedWorld.results {
                world.violated("the answer to \(number) in \(queue)")
            }
            sent[number]!.isAnswered = true
            let id = message.properties.messageID ?? ""
            if sent[number]!.answerIDs.updateValue(id, forKey: outcome) ?? id != id {
                world.violated("\(outcome) of \(number) under two ids")
            }
        case SimulatedWorld.deadLetters:
            sent[number]!.deadLetters.insert(outcome)
            if message.body != sent[number]!.body { world.violated("another body in the dead letter of \(number)") }
            if message.header(HeaderName.reason) == AnswerReason.unroutable {
                sent[number]!.isAnswered = true
            } else if [.succeeded, .superseded].contains(outcome) {
                world.violated("a dead letter of \(number), which is \(outcome)")
            }
        default: return
        }
        judge(outcome, number)
    }

    private func judge(_ outcome: Outcome, _ number: Int) {
        let message = sent[number]!
        let command = commands[message.request] ?? Command()
        let sameRequest = sent.values.filter { $0.request == message.request }
        let isTrue =
            switch outcome {
            case .succeeded: command.effects > 0
            case .rejected: command.calls > 0
            case .exhausted: command.calls > 0 || world.deliveryLimit < PipelineSettings.usualDeliveryLimit
            case .unknown: command.calls > 0 || mayBeAbandoned(command)
            case .superseded: sameRequest.contains { route in sent.values.contains { $0.deletes(later: route) } }
            case .expired: message.deadline.map { $0 <= world.wall + .seconds(1) } ?? false
            case .conflict: sameRequest.contains { $0.context != message.context }
            case .invalid: message.key == nil
            }
        if !isTrue { world.violated("\(number) is not \(outcome)") }
        switch outcome {
        // What is bound to nothing may end otherwise when it is delivered again, since its ack was lost.
        case .invalid, .conflict: return
        // What was said of one message may be said late, when a duplicate was called for.
        case .expired where sameRequest.count > 1: return
        case .expired: break
        case .succeeded, .rejected, .superseded, .exhausted, .unknown:
            commands[message.request, default: Command()].endings.insert(outcome)
            let mayEndAnew = command.isReplayed ? !command.endings.contains(.succeeded) : command.endings.isEmpty
            if !command.endings.contains(outcome), !mayEndAnew {
                world.violated("\(number) is \(outcome) after it was \(command.endings)")
            }
        }
        if command.mayHaveTakenEffect, ![.succeeded, .unknown].contains(outcome) {
            world.violated("\(number) is \(outcome), but may have taken effect")
        }
    }

    private func handsOn(_ number: Int) {
        seen.insert("handed on")
        world.transcript("handed on \(number)")
        defer { sent[number]!.isHandedOn = true }
        let message = sent[number]!
        // What comes again, since its ack was lost, comes late. Of what is handed on there is no claim: who was suspended may
        // do so again.
        guard !message.isHandedOn, message.outcomes.isEmpty, message.key != nil, world.keepsOrder,
            world.uptime - lastWoken > .seconds(30)
        else { return }
        if let last = lastCalled[message.conversation], last > number {
            world.violated("\(number) handed on after \(last)")
        }
        lastCalled[message.conversation] = number
    }

    func acknowledges(_ message: Message) {
        let parked = ParkedMessage(message)
        guard let number = number(of: parked?.message ?? message), let known = sent[number] else { return }
        if known.isHandedOn || (known.isParked && parked == nil) { return }
        let lacks = known.outcomes.filter { needsDeadLetter($0, known) }
        if known.isAnswered, lacks.isEmpty { return }
        // Also what was delivered again, since its dead letter could not be placed.
        if world.mayDiscard(known.conversation.org) {
            sent[number]!.isDiscarded = true
            seen.insert("discarded")
            return
        }
        // Of duplicates another one may place the dead letter.
        let isOnly = sent.values.count(where: { $0.request == known.request }) == 1
        if isOnly || !known.isAnswered {
            world.violated("\(number) was acknowledged without an answer, or a dead letter of \(lacks)")
        }
    }

    // MARK: The end

    /// - Parameter records: what the store remembers of each command.
    func ends(_ records: [CommandKey: CommandRecord]) {
        for (number, message) in sent where !message.isHandedOn && !message.isDiscarded {
            if !message.isAnswered { world.violated("no answer to \(number)") }
            for outcome in message.outcomes where needsDeadLetter(outcome, message) {
                world.violated("no dead letter of \(number), which is \(outcome)")
            }
        }
        for (key, record) in records {
            guard case .claimed = record.state, let command = commands[key.request], !mayBeAbandoned(command) else {
                continue
            }
            world.violated("a claim of \(key.request) was left standing")
        }
    }

    var keys: [CommandKey] { sent.values.compactMap(\.key) }

    /// A duplicate that the platform sent needs none of its own.
    private func needsDeadLetter(_ outcome: Outcome, _ message: Sent) -> Bool {
        switch outcome {
        case .succeeded, .superseded: return false
        // Bound to nothing, it may have ended otherwise when it was delivered again before that one could be placed.
        case .invalid, .conflict, .expired: return !message.deadLetters.contains(outcome) && message.outcomes.count == 1
        case .rejected, .exhausted, .unknown:
            let all = sent.values.filter { $0.request == message.request }
            return !all.contains { $0.deadLetters.contains(outcome) || $0.isHandedOn || $0.isDiscarded }
        }
    }
}

extension SimulationWitness.Sent {
    func command(number: Int, _ kind: CommandKind) -> Message {
        var headers: FieldTable = [
            "Command": .string(kind.rawValue), "RequestId": .string("\(request)"),
            "OrgId": .string("\(conversation.org)"), "AuthorizationContext": .string(context),
        ]
        if let issuedAt { headers["IssuedAt"] = .int64(issuedAt.milliseconds) }
        if let deadline { headers["Deadline"] = .int64(deadline.milliseconds) }
        let properties = MessageProperties(headers: headers, correlationID: "\(number)", replyTo: replyTo)
        return Message(properties: properties, body: body)
    }

    fileprivate func deletes(later route: Self) -> Bool {
        guard key?.kind == .delete, conversation == route.conversation, let issuedAt, let routed = route.issuedAt else {
            return false
        }
        return issuedAt > routed
    }
}
