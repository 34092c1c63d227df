// What the broker says of a queue that is not there.

import AMQP

extension AMQPError {
    /// Whether nobody declared the queue. One that comes up after a restart of its broker is not found either, in other words.
    var isMissingQueue: Bool {
        guard case .channelClosed(404, let text) = self else { return false }
        return text.contains("no queue '")
    }
}
