// One request and its answer on a connection, as a machine: events in, the end of the exchange out. Does no I/O.

import NIOCore

/// What is known of one request and its answer so far, and therefore how certain an end would be now.
struct Exchange {
    /// The end of an exchange.
    struct Ending {
        var result: CallResult
        /// Whether the connection can carry another request.
        var keepsConnection: Bool
    }

    private enum Phase {
        case writing
        case awaitingHead
        case receivingBody
    }

    private let settings: ConnectionSettings
    /// When the whole call must have ended.
    private let callDeadline: NIODeadline
    private var phase = Phase.writing
    /// When the present phase must have ended.
    private(set) var deadline: NIODeadline
    private var headIsWritten = false
    private var requestIsWritten = false
    private var answer: CallAnswer?
    private var keepsConnection = false

    init(settings: ConnectionSettings, callDeadline: NIODeadline, now: NIODeadline) {
        self.settings = settings
        self.callDeadline = callDeadline
        deadline = min(callDeadline, now + TimeAmount(settings.writeTimeout))
    }

    /// The kernel has taken the whole head of the request: from here on the server may act on it.
    mutating func headWritten() {
        headIsWritten = true
    }

    /// The kernel has taken the whole request.
    mutating func requestWritten(now: NIODeadline) {
        requestIsWritten = true
        guard case .writing = phase else { return }
        phase = .awaitingHead
        deadline = min(callDeadline, now + TimeAmount(settings.answerHeadTimeout))
    }

    mutating func received(_ head: AnswerHead, now: NIODeadline) {
        phase = .receivingBody
        deadline = min(callDeadline, now + TimeAmount(settings.answerBodyTimeout))
        keepsConnection = head.keepsConnection
        answer = CallAnswer(
            status: head.status, body: [], retryAfter: head.retryAfter, bodyIsUnreadable: head.bodyIsEncoded)
    }

    /// Returns the end where the body is larger than accepted.
    mutating func received(_ bytes: ByteBuffer) -> Ending? {
        guard let soFar = answer?.body.count else { return nil }
        let room = settings.answerBodyBytes - soFar
        answer?.body.append(contentsOf: bytes.readableBytesView.prefix(room))
        return bytes.readableBytes > room ? cutShort() : nil
    }

    /// The answer is complete, whether or not the request is: a server may answer early (RFC 9112 §9.5), and then the
    /// rest of the request makes the connection unusable.
    func receivedEnd() -> Ending? {
        guard let answer else { return nil }
        return Ending(result: .answered(answer), keepsConnection: keepsConnection && requestIsWritten)
    }

    /// The exchange cannot go on. An answer whose head came stays an answer, with an unreadable body: its status is
    /// known for certain, and what it means for the effect is the classifier's to say.
    func failed(_ failure: CallFailure) -> Ending {
        cutShort()
            ?? Ending(result: headIsWritten ? .effectUnknown(failure) : .notSent(failure), keepsConnection: false)
    }

    /// The phase's time is over.
    func timedOut() -> Ending {
        let what =
            switch phase {
            case .writing: "the request could not be written in time"
            case .awaitingHead: "no answer came in time"
            case .receivingBody: "the answer's body did not end in time"
            }
        return failed(CallFailure(reason: CallFailure.Reason.timeout, message: what))
    }

    private func cutShort() -> Ending? {
        guard var answer else { return nil }
        answer.bodyIsUnreadable = true
        return Ending(result: .answered(answer), keepsConnection: false)
    }
}
