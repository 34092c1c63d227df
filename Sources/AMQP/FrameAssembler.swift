// Puts the messages of one channel together from method, header and body frames. Pure: frame in, action out.
import AMQPMessage

/// The method frames that a broker sends unasked, in Swift's terms.
enum IncomingMethod: Equatable {
    case deliver(tag: UInt64, redelivered: Bool, exchange: String, routingKey: String)
    case returned(code: UInt16, text: String, exchange: String, routingKey: String)
    case got(tag: UInt64, redelivered: Bool, exchange: String, routingKey: String, remaining: UInt32)
    case gotNothing
    case ack(tag: UInt64, multiple: Bool)
    case nack(tag: UInt64, multiple: Bool)
    case cancel
    /// `isPublish`: the broker blames a `basic.publish`.
    case channelClose(code: UInt16, text: String, isPublish: Bool)
    case connectionClose(code: UInt16, text: String)
    case blocked(reason: String)
    case unblocked
    /// A method that has no business here.
    case unexpected(id: UInt32)
}

/// A complete message and the method that announced it.
struct Content: Equatable {
    var method: IncomingMethod
    var message: Message
    /// See ``Delivery/isComplete``.
    var isComplete: Bool
    /// The size of a body over the limit, none of which was kept.
    var skippedBodyBytes: UInt64?
}

/// What follows from a frame.
enum AssemblerAction: Equatable {
    /// More frames are needed.
    case none
    /// A message is complete.
    case content(Content)
    /// A method without content.
    case method(IncomingMethod)
    /// The frame is not allowed at this place; the connection cannot be trusted any further.
    case violation(String)
}

/// One per channel, since frames of different channels interleave and those of one message never do.
struct FrameAssembler {
    private enum State {
        case idle
        case awaitingHeader(IncomingMethod)
        case awaitingBody(Content, missing: UInt64)
    }

    /// No more than this is reserved on the word of a header frame; a larger body grows as it comes.
    private static let reservation: UInt64 = 1 << 20

    /// Bodies over this many bytes are counted and not kept.
    let bodyLimit: UInt64
    private var state = State.idle

    init(bodyLimit: UInt64) {
        self.bodyLimit = bodyLimit
    }

    /// The method of a message whose header frame has not come.
    var begun: IncomingMethod? {
        if case .awaitingHeader(let method) = state { method } else { nil }
    }

    mutating func method(_ method: IncomingMethod) -> AssemblerAction {
        switch method {
        case .channelClose, .connectionClose:
            // May cut a message short.
            state = .idle
            return .method(method)
        case .deliver, .returned, .got:
            guard case .idle = state else { return .violation("a message began inside another") }
            state = .awaitingHeader(method)
            return .none
        case .gotNothing, .ack, .nack, .cancel, .blocked, .unblocked:
            guard case .idle = state else { return .violation("a method came inside a message") }
            return .method(method)
        case .unexpected(let id):
            return .violation("unexpected method 0x\(String(id, radix: 16))")
        }
    }

    /// - Parameter properties: flags and list of the header frame; only read during the call.
    mutating func header(bodySize: UInt64, properties: UnsafeRawBufferPointer) -> AssemblerAction {
        guard case .awaitingHeader(let method) = state else { return .violation("a header frame without its method") }
        let decoded = DecodedProperties(properties)
        var content = Content(
            method: method, message: Message(properties: decoded.properties, body: []),
            isComplete: decoded.isComplete, skippedBodyBytes: bodySize > bodyLimit ? bodySize : nil)
        // No body frame follows an empty body (AMQP 0-9-1 §4.2.6.2 as every broker does it).
        if bodySize == 0 {
            state = .idle
            return .content(content)
        }
        if content.skippedBodyBytes == nil {
            content.message.body.reserveCapacity(Int(min(bodySize, Self.reservation)))
        }
        state = .awaitingBody(content, missing: bodySize)
        return .none
    }

    /// - Parameter fragment: only read during the call.
    mutating func body(_ fragment: UnsafeRawBufferPointer) -> AssemblerAction {
        guard case .awaitingBody(var content, let missing) = state else {
            return .violation("a body frame without its header")
        }
        // Let go of the state's copy first, or the append below would copy the whole body.
        state = .idle
        let count = UInt64(fragment.count)
        guard count <= missing else { return .violation("a body longer than announced") }
        if content.skippedBodyBytes == nil { content.message.body.append(contentsOf: fragment) }
        if count == missing { return .content(content) }
        state = .awaitingBody(content, missing: missing - count)
        return .none
    }
}
