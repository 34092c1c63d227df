// Verdicts on calls of which no answer came, too.

import InteractionAPI
import RoutingContract

extension CallResult {
    /// The JSON of the answer, where one came that is JSON.
    var document: JSONDocument? {
        if case .answered(let answer) = self { AnswerClassifier.document(of: answer) } else { nil }
    }
}

extension Verdict {
    /// What a call's end means for its command, whether an answer came or not.
    ///
    /// - Parameter document: its ``CallResult/document``.
    init(on result: CallResult, _ document: JSONDocument?, of kind: CommandKind, now: Timestamp) {
        switch result {
        case .answered(let answer):
            self = AnswerClassifier.classify(kind: kind, answer: answer, document: document, now: now)
        case .notSent(let failure):
            let error = CommandError(message: failure.message, reason: failure.reason)
            self =
                switch failure.reason {
                case CallFailure.Reason.tokenUnavailable: .token(error)
                case CallFailure.Reason.orgNotConfigured: .configuration(error)
                default: .transient(error, retryAfter: failure.retryAfter)
                }
        case .effectUnknown(let failure):
            self = .unknown(CommandError(message: failure.message, reason: failure.reason))
        }
    }
}

extension Verdict {
    /// What is wrong, where something is.
    var error: CommandError? {
        switch self {
        case .succeeded, .nothingCleared: nil
        case .rejected(let error), .configuration(let error), .token(let error), .transient(let error, _),
            .unknown(let error):
            error
        }
    }
}
