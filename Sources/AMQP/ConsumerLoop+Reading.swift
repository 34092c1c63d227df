// How the consumer's thread reads: frames to their channel's assembler, messages into the batch.
import AMQPMessage
import CRabbitMQ

extension ConsumerLoop {
    /// Reads until nothing is there or the batch is full.
    /// - Returns: whether there may be more.
    func drain(_ connection: borrowing Connection, _ isReadable: inout Bool) throws(AMQPError) -> Bool {
        var frame = amqp_frame_t()
        while true {
            do {
                guard try connection.nextFrame(&frame, isReadable: &isReadable) else { return false }
            } catch {
                if error == .unreadable { rejectUnread(frame.channel, connection) }
                throw error
            }
            try take(frame, connection)
            connection.releaseBuffers()
            if batch.count >= Self.batchLimit { return true }
        }
    }

    /// A classic queue hands on property flags that librabbitmq cannot read, and would do so on every new connection.
    /// Seen for the second time, such a message is rejected; writing is still safe after a failed read.
    private func rejectUnread(_ channel: UInt16, _ connection: borrowing Connection) {
        guard let index = slot(on: channel), slots[index].isSubscribed, slots[index].subscription.rejectsUnreadable,
            case .deliver(let tag, true, let exchange, let routingKey)? = slots[index].assembler.begun
        else { return }
        try? connection.send(.reject(tag: tag), on: channel)
        onEvent(
            .rejectedUnread(
                queue: slots[index].subscription.queue, exchange: exchange, routingKey: routingKey))
    }

    private func take(_ frame: amqp_frame_t, _ connection: borrowing Connection) throws(AMQPError) {
        // Both sides closed a channel at the same time. The answer comes late: the number may be in use again.
        if FrameReader.isChannelCloseOk(frame) { return }
        guard let index = slot(on: frame.channel) else { return try takeOtherFrame(frame, connection) }
        switch FrameReader.feed(frame, to: &slots[index].assembler) {
        case .none: return
        case .content(let content): try deliver(content, at: index)
        case .violation(let what): throw .protocolViolation(what)
        case .method(let method):
            switch method {
            case .cancel:
                // The channel stays open, but what it delivered belongs to a queue that is gone: start anew.
                lost(index, .cancelled(queue: slots[index].subscription.queue))
                retryLater(index)
            case .channelClose(let code, let text, _):
                try connection.confirmChannelClose(frame.channel)
                forgetChannel(index)
                lost(index, code == 403 ? .accessRefused(text) : .channelClosed(code: code, text: text))
                retryLater(index)
            case .deliver, .returned, .got, .gotNothing, .ack, .nack, .connectionClose, .blocked, .unblocked,
                .unexpected:
                throw .protocolViolation("a method that has no place on a consumer's channel")
            }
        }
    }

    private func takeOtherFrame(_ frame: amqp_frame_t, _ connection: borrowing Connection) throws(AMQPError) {
        // What came before the broker had closed the channel; it delivers that again.
        if numbers.isRetired(frame.channel) { return }
        guard Int32(frame.frame_type) == AMQP_FRAME_METHOD, frame.channel == 0 || frame.channel == lockChannel else {
            throw .protocolViolation("a frame on channel \(frame.channel), which is not open")
        }
        switch FrameReader.method(frame.payload.method) {
        // This connection does not publish, so an alarm does not concern it.
        case .blocked, .unblocked: return
        case .connectionClose(let code, let text):
            connection.confirmConnectionClose()
            throw .connectionClosed(code: code, text: text)
        case .channelClose where frame.channel == lockChannel:
            // The locks are the connection's and stay.
            try connection.confirmChannelClose(frame.channel)
            numbers.retire(frame.channel)
            lockChannel = nil
        case .deliver, .returned, .got, .gotNothing, .ack, .nack, .cancel, .channelClose, .unexpected:
            throw .protocolViolation("a method that has no place on channel \(frame.channel)")
        }
    }

    private func deliver(_ content: Content, at index: Int) throws(AMQPError) {
        guard case .deliver(let tag, let redelivered, let exchange, let routingKey) = content.method else {
            throw .protocolViolation("a message that is no delivery on a consumer's channel")
        }
        // After a cancel the rest of what was under way still comes in.
        guard slots[index].isSubscribed, let channel = slots[index].channel else { return }
        guard slots[index].ledger.delivered(tag) else { throw .protocolViolation("delivery tag \(tag) out of turn") }
        batch.append(
            Delivery(
                receipt: Receipt(generation: slots[index].generation, channel: channel, deliveryTag: tag),
                queue: slots[index].subscription.queue, exchange: exchange, routingKey: routingKey,
                redelivered: redelivered, message: content.message, isComplete: content.isComplete,
                skippedBodyBytes: content.skippedBodyBytes))
    }
}
