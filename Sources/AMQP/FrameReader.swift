// From librabbitmq's decoded frames to Swift values. Everything is copied: the originals die with the next call.
import CRabbitMQ

enum FrameReader {
    /// Hands a frame of a channel to its assembler.
    static func feed(_ frame: amqp_frame_t, to assembler: inout FrameAssembler) -> AssemblerAction {
        switch Int32(frame.frame_type) {
        case AMQP_FRAME_METHOD:
            return assembler.method(method(frame.payload.method))
        case AMQP_FRAME_HEADER:
            let header = frame.payload.properties
            return assembler.header(
                bodySize: header.body_size,
                properties: UnsafeRawBufferPointer(start: header.raw.bytes, count: header.raw.len))
        case AMQP_FRAME_BODY:
            let fragment = frame.payload.body_fragment
            return assembler.body(UnsafeRawBufferPointer(start: fragment.bytes, count: fragment.len))
        default:
            return .violation("a frame of type \(frame.frame_type)")
        }
    }

    /// Whether it is the broker's answer to a close of this side.
    static func isChannelCloseOk(_ frame: amqp_frame_t) -> Bool {
        Int32(frame.frame_type) == AMQP_FRAME_METHOD
            && frame.payload.method.id == amqp_method_number_t(AMQP_CHANNEL_CLOSE_OK_METHOD)
    }

    static func method(_ method: amqp_method_t) -> IncomingMethod {
        guard let decoded = method.decoded else { return .unexpected(id: method.id) }
        func fields<T>(_ type: T.Type) -> T { decoded.load(as: type) }
        switch method.id {
        case amqp_method_number_t(AMQP_BASIC_DELIVER_METHOD):
            let deliver = fields(amqp_basic_deliver_t.self)
            return .deliver(
                tag: deliver.delivery_tag, redelivered: deliver.redelivered != 0, exchange: text(deliver.exchange),
                routingKey: text(deliver.routing_key))
        case amqp_method_number_t(AMQP_BASIC_RETURN_METHOD):
            let returned = fields(amqp_basic_return_t.self)
            return .returned(
                code: returned.reply_code, text: text(returned.reply_text), exchange: text(returned.exchange),
                routingKey: text(returned.routing_key))
        case amqp_method_number_t(AMQP_BASIC_GET_OK_METHOD):
            let got = fields(amqp_basic_get_ok_t.self)
            return .got(
                tag: got.delivery_tag, redelivered: got.redelivered != 0, exchange: text(got.exchange),
                routingKey: text(got.routing_key), remaining: got.message_count)
        case amqp_method_number_t(AMQP_BASIC_GET_EMPTY_METHOD):
            return .gotNothing
        case amqp_method_number_t(AMQP_BASIC_ACK_METHOD):
            let ack = fields(amqp_basic_ack_t.self)
            return .ack(tag: ack.delivery_tag, multiple: ack.multiple != 0)
        case amqp_method_number_t(AMQP_BASIC_NACK_METHOD):
            let nack = fields(amqp_basic_nack_t.self)
            return .nack(tag: nack.delivery_tag, multiple: nack.multiple != 0)
        case amqp_method_number_t(AMQP_BASIC_CANCEL_METHOD):
            return .cancel
        case amqp_method_number_t(AMQP_CHANNEL_CLOSE_METHOD):
            let close = fields(amqp_channel_close_t.self)
            return .channelClose(
                code: close.reply_code, text: text(close.reply_text),
                isPublish: close.class_id == 60 && close.method_id == 40)
        case amqp_method_number_t(AMQP_CONNECTION_CLOSE_METHOD):
            let close = fields(amqp_connection_close_t.self)
            return .connectionClose(code: close.reply_code, text: text(close.reply_text))
        case amqp_method_number_t(AMQP_CONNECTION_BLOCKED_METHOD):
            return .blocked(reason: text(fields(amqp_connection_blocked_t.self).reason))
        case amqp_method_number_t(AMQP_CONNECTION_UNBLOCKED_METHOD):
            return .unblocked
        default:
            return .unexpected(id: method.id)
        }
    }

    static func text(_ bytes: amqp_bytes_t) -> String {
        String(decoding: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len), as: UTF8.self)
    }
}
