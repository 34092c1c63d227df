// What must hold of a batch of made-up commands once it is through, however the day went.

import AMQP
import AMQPMessage
import CommandClient
import InteractionSandbox
import RoutingContract

/// Made-up commands, each with a correlation id of its own.
struct Batch {
    struct Member {
        let spec: CommandSpec
        let making: CommandGenerator.Making
        let correlationID: String
    }

    let seed: UInt64
    let members: [Member]

    /// The mix of the project's acceptance test: 5 % duplicates, 2 % malformed, 10 % deletes.
    init(count: Int, seed: UInt64 = .random(in: 0...UInt64.max)) {
        self.seed = seed
        var generator = CommandGenerator(
            seed: seed, orgs: ["acme", "globex"], mix: .init(duplicates: 0.05, malformed: 0.02, deletes: 0.1))
        members = (0..<count).map { index in
            let (spec, making) = generator.next()
            let correlationID = "\(seed).\(index)"
            return Member(
                spec: spec.replying(to: nil, correlationID: correlationID), making: making,
                correlationID: correlationID)
        }
    }

    /// The messages, each with a `message_id` of its own, so that many may be in flight.
    func messages(to queue: String) -> [OutgoingMessage] {
        members.map { member in
            var message = member.spec.message
            message.properties.messageID = member.correlationID
            return OutgoingMessage(message, routingKey: queue)
        }
    }
}

/// A batch, and what became of it.
struct BatchAudit {
    let batch: Batch
    /// All answers, repeated ones too.
    let answers: [Answer]
    let deadLetters: [Message]
    let sandbox: Sandbox

    private var answersByCorrelation: [String: [Answer]] {
        Dictionary(grouping: answers.filter { $0.correlationID != nil }) { $0.correlationID! }
    }

    private var answersByRequest: [String: [Answer]] {
        let valid = Set(batch.members.filter { $0.making != .malformed }.map(\.correlationID))
        let relevant = answers.filter { $0.correlationID.map(valid.contains) ?? false }
        return Dictionary(grouping: relevant) { $0.requestID ?? "" }
    }

    /// Every command has an answer, and every answer belongs to a command.
    var answerProblems: [String] {
        let answers = answersByCorrelation
        var problems = batch.members.compactMap { member -> String? in
            guard let own = answers[member.correlationID] else { return "\(member.correlationID) has no answer" }
            let isInvalid = own.contains { $0.outcome == .invalid }
            if isInvalid != (member.making == .malformed) {
                return
                    "\(member.correlationID) (\(member.making)) ended \(own[0].outcome): \(own[0].errorMessage ?? "")"
            }
            if member.making != .malformed, own.contains(where: { $0.requestID != member.spec.id }) {
                return "\(member.correlationID) was answered under another RequestId"
            }
            return nil
        }
        let known = Set(batch.members.map(\.correlationID))
        problems += self.answers.filter { !($0.correlationID.map(known.contains) ?? false) }.map {
            "an answer with the correlation id \($0.correlationID ?? "nil")"
        }
        return problems
    }

    /// One outcome for each RequestId, and the same `message_id` whenever the answer is repeated.
    var outcomeProblems: [String] {
        answersByRequest.compactMap { id, answers in
            let outcomes = Set(answers.map(\.outcome))
            if outcomes.count != 1 { return "\(id) has outcomes \(outcomes.map(\.rawValue).sorted())" }
            return Set(answers.map(\.messageID)).count == 1 ? nil : "the answers of \(id) differ in message_id"
        }
    }

    /// One effect for what succeeded, none for what failed for certain, one at most for what is unknown.
    var effectProblems: [String] {
        answersByRequest.compactMap { id, answers in
            guard let answer = answers.first else { return nil }
            let effects = sandbox.effects(of: id).effects
            let allowed: ClosedRange<Int> =
                switch answer.outcome {
                case .succeeded where answer.command == "route": 1...1
                // Tried again after an unknown effect, a delete may have been cleared for by another.
                case .succeeded, .unknown: 0...1
                case .rejected, .invalid, .conflict, .expired, .superseded, .exhausted: 0...0
                }
            return allowed.contains(effects) ? nil : "\(id) ended \(answer.outcome) with \(effects) effects"
        }
    }

    /// A dead letter for every failure, and for nothing else.
    var deadLetterProblems: [String] {
        let letters = Dictionary(grouping: deadLetters) { $0.properties.correlationID ?? "" }
        var problems: [String] = []
        for (correlationID, answers) in answersByCorrelation {
            let fails = answers[0].outcome.isFailure && answers[0].reason != CommandResult.nothingCleared
            // A duplicate that the platform sent needs none.
            let needsOne = fails && answers.contains { !$0.duplicate }
            let own = letters[correlationID] ?? []
            if needsOne, own.isEmpty { problems.append("\(correlationID) (\(answers[0].outcome)) has no dead letter") }
            if !fails, !own.isEmpty { problems.append("\(correlationID) (\(answers[0].outcome)) has a dead letter") }
        }
        return problems
    }

    func answers(with outcome: Outcome) -> [Answer] { answers.filter { $0.outcome == outcome } }
}
