// One connection: the channel handler that puts a call's request on the wire and reads its answer.

import Failpoints
import LoopSupport
import NIOCore
import NIOSSL

/// A connection with at most one request in flight. Lives on the pool's event loop alone.
///
/// Timers: moving a timer for every phase of every call would cost more than the calls' own bookkeeping, so the one
/// timer is only moved when a deadline lies before it; when it fires early it is set again.
final class HTTPConnection: ChannelInboundHandler, NIOScheduledCallbackHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let pool: OriginPool
    private let settings: ConnectionSettings
    private var context: ChannelHandlerContext?
    private var call: HTTPCall?
    private var exchange: Exchange
    private var reader: AnswerReader
    /// The answer is complete, and the rest of what was read with it is still to come: bytes that nobody asked for
    /// must not be taken for the answer to the next request.
    private var isSettling = false
    private var isOver = false
    private var idleDeadline: NIODeadline
    private var timer: (callback: NIOScheduledCallback, at: NIODeadline)?

    init(pool: OriginPool, settings: ConnectionSettings) {
        self.pool = pool
        self.settings = settings
        let now = NIODeadline.now()
        exchange = Exchange(settings: settings, callDeadline: now, now: now)
        reader = AnswerReader(headBytes: settings.answerHeadBytes)
        idleDeadline = now + TimeAmount(settings.idleTimeout)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        wake(by: idleDeadline, on: context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        over()
        self.context = nil
    }

    // MARK: Calls

    /// Puts a call's request on the wire. The connection must be idle.
    ///
    /// - Returns: whether the connection stays idle, since no time was left.
    func start(_ call: HTTPCall) -> Bool {
        guard let context, !isOver, context.channel.isActive else {
            call.finishUnsent(CallFailure.Reason.connectionClosed, "the connection closed before anything was written")
            over()
            return false
        }
        Failpoint.beforeSend.reached()
        let now = NIODeadline.now()
        // A process that was held up since the call began may have lost to another what it calls for.
        guard call.deadline > now else {
            call.finishUnsent(CallFailure.Reason.timeout, "no time was left to send the request")
            return true
        }
        call.place = .onConnection(self)
        self.call = call
        exchange = Exchange(settings: settings, callDeadline: call.deadline, now: now)
        reader = AnswerReader(headBytes: settings.answerHeadBytes)
        wake(by: exchange.deadline, on: context)

        write(call.request, on: context)
        return false
    }

    private func write(_ request: HTTPRequest, on context: ChannelHandlerContext) {
        // A connection takes its next request only when both promises were kept, so they never speak of another call.
        let headWritten = context.eventLoop.makePromise(of: Void.self)
        headWritten.futureResult.assumeIsolated().whenSuccess { self.exchange.headWritten() }
        let requestWritten = context.eventLoop.makePromise(of: Void.self)
        requestWritten.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .success: self.requestWritten()
            case .failure(let error): self.fail(Self.failure(of: error))
            }
        }
        context.write(wrapOutboundOut(request.head), promise: headWritten)
        context.writeAndFlush(wrapOutboundOut(request.body), promise: requestWritten)
    }

    func cancel(_ call: HTTPCall) {
        guard self.call === call else { return }
        fail(CallFailure(reason: CallFailure.Reason.cancelled, message: "the call was cancelled"))
    }

    /// Ends the call in flight, if there is one, and the connection with it.
    func fail(_ failure: CallFailure) {
        if call != nil { end(exchange.failed(failure)) } else { abort() }
    }

    /// Lets go of an idle connection in good order.
    func retire() {
        guard let context else { return over() }
        over()
        context.close(promise: nil)
    }

    private func requestWritten() {
        Failpoint.afterSend.reached()
        guard call != nil, let context else { return }
        exchange.requestWritten(now: .now())
        wake(by: exchange.deadline, on: context)
    }

    private func end(_ ending: Exchange.Ending) {
        guard let call else { return }
        self.call = nil
        if ending.keepsConnection { isSettling = true } else { abort() }
        call.finish(ending.result)
    }

    /// Closes without TLS's good-bye: that one would first send what is still buffered of a request which has just been
    /// reported as not sent.
    private func abort() {
        guard let context else { return over() }
        over()
        let tls = try? context.pipeline.syncOperations.context(handlerType: NIOSSLClientHandler.self)
        (tls ?? context).close(promise: nil)
    }

    private func over() {
        guard !isOver else { return }
        isOver = true
        isSettling = false
        timer?.callback.cancel()
        timer = nil
        pool.ended(self)
    }

    // MARK: What comes from the channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What arrives while no request is in flight (an unasked-for answer, the rest of one) must not be taken for the
        // beginning of the next answer.
        guard call != nil else { return abort() }
        reader.receive(unwrapInboundIn(data))
        do {
            while call != nil, let event = try reader.next() { handle(event, on: context) }
        } catch {
            fail(
                CallFailure(
                    reason: CallFailure.Reason.malformedAnswer, message: "the answer is not valid HTTP: \(error.what)"))
        }
    }

    private func handle(_ event: AnswerReader.Event, on context: ChannelHandlerContext) {
        switch event {
        case .head(let head):
            exchange.received(head, now: .now())
            wake(by: exchange.deadline, on: context)
        case .body(let bytes):
            if let ending = exchange.received(bytes) { end(ending) }
        case .end:
            answerEnded()
        }
    }

    private func answerEnded() {
        guard var ending = exchange.receivedEnd() else { return }
        // The same as for what arrives later.
        if reader.holdsBytes { ending.keepsConnection = false }
        end(ending)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if isSettling {
            isSettling = false
            idleDeadline = .now() + TimeAmount(settings.idleTimeout)
            wake(by: idleDeadline, on: context)
            pool.becameIdle(self)
        }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(Self.failure(of: error))
    }

    func channelInactive(context: ChannelHandlerContext) {
        if reader.endsWithConnection { answerEnded() }
        fail(
            CallFailure(
                reason: CallFailure.Reason.connectionClosed,
                message: "the server closed the connection without an answer"))
        context.fireChannelInactive()
    }

    /// What an error of the channel means for a call whose request is under way.
    static func failure(of error: any Error) -> CallFailure {
        switch error {
        case ChannelError.eof, ChannelError.alreadyClosed, ChannelError.ioOnClosedChannel, NIOSSLError.uncleanShutdown:
            CallFailure(
                reason: CallFailure.Reason.connectionClosed,
                message: "the connection closed before the answer was complete")
        default:
            CallFailure(
                reason: CallFailure.Reason.connectionReset,
                message: bounded("the connection broke: \(ConnectionTrouble.words(for: error))"))
        }
    }

    // MARK: Time

    private func wake(by deadline: NIODeadline, on context: ChannelHandlerContext) {
        if let timer {
            guard deadline < timer.at else { return }
            timer.callback.cancel()
        }
        // Throws only while the loop shuts down, which closes the channel.
        timer = (try? context.eventLoop.assumeIsolated().scheduleCallback(at: deadline, handler: self))
            .map { ($0, deadline) }
    }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        timer = nil
        guard let context, !isOver else { return }
        let deadline = call == nil ? idleDeadline : exchange.deadline
        if deadline > .now() {
            wake(by: deadline, on: context)
        } else if call == nil {
            retire()
        } else {
            end(exchange.timedOut())
        }
    }
}

/// Texts of libraries and servers go into messages for people; they are not to flood a log.
func bounded(_ text: String, to limit: Int = 300) -> String {
    text.count <= limit ? text : text.prefix(limit) + "…"
}

extension CallFailure {
    init(_ reason: String, _ message: String) {
        self.init(reason: reason, message: message)
    }
}
