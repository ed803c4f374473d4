"""What the fifty sounds are called and said to do, as a table that people can read and extend.

A class is a line `name; label; seconds from to; foreground or ambient; groups of traits; mention`, followed by its
phrases, `subject / verb / gerund`, after `trait:` when a phrase may only be said of variants with that trait. `mention`
is a regular expression that finds the class in a caption: every phrase of a class matches its own and no other's.
"""

VOCABULARY = r"""
dog; dog barking; 1.2 to 4; foreground; pitch pace count; dogs?|puppy
    a dog / barks / barking
    a dog / woofs / woofing
    high: a small dog / yaps / yapping
    high: a puppy / barks / barking
    low: a big dog / barks / barking
rooster; rooster crowing; 1.8 to 4.5; foreground; pitch count; rooster|cockerel
    a rooster / crows / crowing
    a cockerel / crows / crowing
    a rooster / calls / calling
cat; cat meowing; 1.2 to 4; foreground; pitch count; cat|kitten
    a cat / meows / meowing
    a cat / mews / mewing
    high: a kitten / meows / meowing
cow; cow mooing; 1.6 to 4.5; foreground; pitch count; cow|cattle
    a cow / moos / mooing
    a cow / bellows / bellowing
    many: cattle / moo / mooing
sheep; sheep bleating; 1.2 to 4; foreground; pitch count; sheep|lamb
    a sheep / bleats / bleating
    a sheep / baas / baaing
    high: a lamb / bleats / bleating
duck; duck quacking; 1 to 4; foreground; pace count; ducks?
    a duck / quacks / quacking
    many: ducks / quack / quacking
owl; owl hooting; 1.6 to 4.5; foreground; count; owl
    an owl / hoots / hooting
    an owl / calls / calling
frog; frog croaking; 1.2 to 4.5; foreground; pitch pace count; frogs?|toad
    a frog / croaks / croaking
    many: frogs / croak / croaking
    low: a toad / croaks / croaking
crickets; crickets chirping; 2 to 10; ambient; pace; crickets|insects
    crickets / chirp / chirping
    insects / chirp / chirping
    crickets / sing / singing
birds; birds singing; 1.6 to 10; ambient; pitch pace; birds?
    birds / sing / singing
    birds / chirp / chirping
    a bird / tweets / tweeting
    slow: a bird / chirps / chirping
bee; bee buzzing; 1.6 to 6; ambient; pitch; bee|fly|wasp
    a bee / buzzes / buzzing
    high: a fly / buzzes / buzzing
    low: a wasp / hums / humming
baby; baby crying; 1.8 to 5; foreground; pitch count; baby|infant
    a baby / cries / crying
    an infant / cries / crying
    a baby / wails / wailing
sneeze; person sneezing; 1 to 3.5; foreground; count; sneez\w+
    a person / sneezes / sneezing
    someone / sneezes / sneezing
    a person / is sneezing / sneezing
snore; person snoring; 2.2 to 6; foreground; pitch count; snor\w+
    a person / snores / snoring
    someone / snores / snoring
    low: a sleeper / snores / snoring
laugh; person laughing; 1.2 to 4; foreground; pitch; laugh\w*|giggl\w+|chuckl\w+
    a person / laughs / laughing
    someone / laughs / laughing
    high: a child / giggles / giggling
    low: a person / chuckles / chuckling
man; man speaking; 1.5 to 5; foreground; pace; man|male
    a man / speaks / speaking
    a man / talks / talking
    a male voice / speaks / speaking
woman; woman speaking; 1.5 to 5; foreground; pace; woman|female
    a woman / speaks / speaking
    a woman / talks / talking
    a female voice / speaks / speaking
applause; crowd applauding; 2 to 6; foreground; size; crowd|audience|people
    a crowd / applauds / applauding
    people / clap / clapping
    an audience / claps / clapping
    big: a large crowd / applauds / applauding
    small: a few people / clap / clapping
footsteps; footsteps; 1.6 to 6; foreground; pace; footsteps|walk\w*|steps
    footsteps / sound / sounding
    someone / walks / walking
    footsteps / approach / approaching
    fast: hurried footsteps / sound / sounding
rain; rain falling; 2.5 to 10; ambient; size; rain\w*|drizzle|downpour
    rain / falls / falling
    rain / patters / pattering
    big: heavy rain / pours down / pouring down
    small: light rain / falls / falling
sea; sea waves; 4 to 10; ambient; pace; waves|surf|sea
    waves / crash / crashing
    sea waves / roll in / rolling in
    the surf / breaks / breaking
fire; crackling fire; 2.5 to 10; ambient; size; fire|flames
    a fire / crackles / crackling
    a fire / burns / burning
    flames / crackle / crackling
    big: a big fire / roars / roaring
wind; wind blowing; 2.5 to 10; ambient; pitch; winds?|gale|breeze
    wind / blows / blowing
    the wind / howls / howling
    low: a gale / blows / blowing
thunder; thunder rumbling; 2.2 to 6; foreground; count; thunder
    thunder / rumbles / rumbling
    thunder / rolls / rolling
    thunder / cracks / cracking
drip; water dripping; 1.2 to 6; foreground; pace count; drip\w*|drops?
    water / drips / dripping
    a tap / drips / dripping
    water drops / fall / falling
pouring; water being poured; 1.8 to 5; foreground; -; poured|liquid|glass is filled|filling a cup|fills a cup
    water / is poured / being poured
    liquid / flows / flowing
    water / fills a cup / filling a cup
glass; glass shattering; 1 to 3.5; foreground; count; glass|window
    glass / shatters / shattering
    glass / breaks / breaking
    a window / smashes / smashing
knock; knocking on a door; 1.2 to 4; foreground; pitch pace; knock\w*|raps|rapping
    someone / knocks on a door / knocking on a door
    a person / knocks / knocking
    someone / raps on wood / rapping on wood
typing; keyboard typing; 1.6 to 6; foreground; pace; typ(?:es|ing)|keyboard|keys
    someone / types / typing
    a person / types on a keyboard / typing on a keyboard
    keys / click / clicking
clock; clock ticking; 2 to 8; ambient; pace; clock|watch
    a clock / ticks / ticking
    a watch / ticks / ticking
    slow: a big clock / ticks / ticking
hammer; hammering; 1.2 to 4.5; foreground; pace count; hammer\w*|nails?
    someone / hammers / hammering
    a hammer / strikes metal / striking metal
    a hammer / bangs / banging
    many: someone / drives in nails / driving in nails
creak; door creaking; 1.2 to 4; foreground; pitch count; creak\w*|hinge\w*|squeak\w*
    a door / creaks / creaking
    a door / squeaks / squeaking
    a hinge / squeaks / squeaking
helicopter; helicopter; 2.5 to 8; ambient; pace; helicopter|chopper|rotor
    a helicopter / flies / flying
    a helicopter / hovers / hovering
    a chopper / flies over / flying over
    helicopter rotor blades / spin / spinning
chainsaw; chainsaw; 2 to 6; foreground; pitch; chainsaw|chain saw
    a chainsaw / runs / running
    a chainsaw / cuts wood / cutting wood
    a chain saw / buzzes / buzzing
engine; engine running; 2 to 8; ambient; gear; engine|motor
    an engine / runs / running
    a motor / runs / running
    idling: an engine / idles / idling
    revving: an engine / revs / revving
drill; electric drill; 1.5 to 4.5; foreground; pitch; drill\w*
    a drill / whirs / whirring
    someone / drills / drilling
    an electric drill / runs / running
gunshot; gunshot; 0.9 to 3.5; foreground; pace count; guns?|gunshots?|shots
    a gun / fires / firing
    once: a gunshot / rings out / ringing out
    many: gunshots / ring out / ringing out
    fast: shots / are fired / being fired
siren; siren wailing; 2.2 to 7; foreground; pace; siren|ambulance|police
    a siren / wails / wailing
    a siren / sounds / sounding
    fast: a police car / speeds by / speeding by
    slow: an ambulance / passes / passing
car_horn; car horn honking; 1 to 3.5; foreground; count; car horn|honk\w*
    a car horn / honks / honking
    a car / honks / honking
    a car horn / beeps / beeping
train_horn; train horn; 1.6 to 4.5; foreground; count; train
    a train horn / blows / blowing
    a train / blows its horn / blowing its horn
    a train horn / blasts / blasting
bell; bell ringing; 1.8 to 5.5; foreground; pitch pace count; bells?
    a bell / rings / ringing
    a bell / tolls / tolling
    a church bell / rings / ringing
    fast: bells / ring / ringing
telephone; telephone ringing; 1.4 to 4.5; foreground; pitch count; telephone|phone
    a telephone / rings / ringing
    a phone / rings / ringing
beeps; alarm beeping; 1.4 to 4.5; foreground; pitch pace; alarm|device|machine
    an alarm / beeps / beeping
    a device / beeps / beeping
    a machine / bleeps / bleeping
whistle; person whistling; 1.6 to 4.5; foreground; pitch; whistl\w+
    a person / whistles / whistling
    someone / whistles a tune / whistling a tune
piano; piano music; 2 to 6; ambient; pitch pace; piano|pianist
    a piano / plays / playing
    someone / plays the piano / playing the piano
    a pianist / plays / playing
guitar; guitar strumming; 2 to 6; ambient; pace; guitar\w*
    a guitar / plays / playing
    someone / plucks a guitar / plucking a guitar
    a guitar / is strummed / being strummed
drums; drum beat; 1.8 to 6; ambient; pace; drum\w*
    drums / play / playing
    someone / plays the drums / playing the drums
    a drummer / plays a beat / playing a beat
violin; violin playing; 1.8 to 6; foreground; pitch; violin|violinist|fiddle
    a violin / plays / playing
    a violinist / plays / playing
    a fiddle / plays a melody / playing a melody
music_box; music box; 2 to 6; foreground; pace; music box|chimes|tinkl\w+
    a music box / plays / playing
    chimes / tinkle / tinkling
    a music box / tinkles / tinkling
ball; ball bouncing; 1.6 to 4.5; foreground; pitch; ball|bounc\w+
    a ball / bounces / bouncing
    a ball / is dribbled / being dribbled
"""
