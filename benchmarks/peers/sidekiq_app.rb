# Sidekiq: threads, JSON, taken off the list before a job runs, no results. What Debian has is 6.4.1.
#
# Loaded by its worker, and run as a program it enqueues, with the arguments of produce.py:
#
#     ruby sidekiq_app.rb fill KIND COUNT
#     ruby sidekiq_app.rb rate KIND SECONDS one|many
require "fiddle"
require "json"
require "sidekiq"

# A client in C, where it is installed (on Debian: ruby-hiredis); redis-rb takes it only when told so.
BEST = ENV.fetch("PEERS_SETTING", "").start_with?("best")
HIREDIS =
  begin
    BEST && require("redis/connection/hiredis")
    BEST
  rescue LoadError
    false
  end

CONNECTION = { url: ENV.fetch("PEERS_REDIS_URL", "redis://127.0.0.1:6379/0") }.merge(HIREDIS ? { driver: :hiredis } : {})
Sidekiq.configure_server do |config|
  config.redis = CONNECTION
  # By default it writes two lines for each job.
  config.logger.level = Logger::WARN if BEST
end
Sidekiq.configure_client { |config| config.redis = CONNECTION }

# See marks.py, whose file it maps into memory as Python does.
module Marks
  PATH = ENV["PEERS_MARKS"]
  MOMENT, COUNT = 8, 1
  MOST_RUNS = 255
  READ_WRITE, SHARED = 3, 1
  if PATH
    BYTES = File.size(PATH)
    JOBS = BYTES / (2 * MOMENT + COUNT)
    MMAP = Fiddle::Function.new(
      Fiddle::Handle::DEFAULT["mmap"],
      [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T, *[Fiddle::TYPE_INT] * 3, Fiddle::TYPE_LONG],
      Fiddle::TYPE_VOIDP
    )
    FILE = File.open(PATH, "r+b")
    WHOLE = Fiddle::Pointer.new(MMAP.call(nil, BYTES, READ_WRITE, SHARED, FILE.fileno, 0).to_i, BYTES)
  end

  def self.mark(at)
    WHOLE[at, MOMENT] = [Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)].pack("Q")
  end

  def self.began(number) = mark(MOMENT * number)

  def self.ended(number)
    mark(MOMENT * (JOBS + number))
    runs = WHOLE[2 * MOMENT * JOBS + number]
    # Ruby gives a byte with its sign.
    WHOLE[2 * MOMENT * JOBS + number] = runs + 1 if runs % 256 < MOST_RUNS
  end
end

class Noop
  include Sidekiq::Worker

  def perform(number)
    Marks.ended(number)
  end
end

class Nap
  include Sidekiq::Worker

  def perform(number, seconds)
    Marks.began(number)
    sleep seconds
    Marks.ended(number)
  end
end

WORK = { "noop" => [Noop], "1 ms" => [Nap, 0.001], "10 ms" => [Nap, 0.01] }.freeze
SLICE = 1000

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def enqueue(kind, numbers)
  worker, *more = WORK.fetch(kind)
  numbers.each { |number| worker.perform_async(number, *more) }
end

def enqueue_many(kind, numbers)
  worker, *more = WORK.fetch(kind)
  worker.perform_bulk(numbers.map { |number| [number, *more] })
end

def fill(kind, count)
  began = now
  (0...count).each_slice(SLICE) { |numbers| enqueue_many(kind, numbers) }
  { count: count, took_s: now - began }
end

def rate(kind, seconds, way)
  size, how = way == "many" ? [SLICE, method(:enqueue_many)] : [20, method(:enqueue)]
  how.call(kind, (0...size).to_a)
  count = 0
  began = now
  while (took_s = now - began) < seconds
    how.call(kind, (0...size).to_a)
    count += size
  end
  { count: count, took_s: took_s }
end

if $PROGRAM_NAME == __FILE__
  what, kind, amount, way = ARGV
  puts JSON.generate(what == "fill" ? fill(kind, amount.to_i) : rate(kind, amount.to_f, way))
end
